#include "options.h"

#include "base/str.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define HELP_COLUMN 30
#define HELP_WIDTH  100
#define NAMES_MAX   128

struct parser {
    const struct command *command;
    struct arena *arena;
    char *args; /* the struct to fill */
    int argc;
    char **argv;
    int at; /* the next word */
    struct err err;
};

static bool same_name(const char *name, struct str word)
{
    if (name == NULL || strlen(name) != word.n)
        return false;
    for (size_t i = 0; i < word.n; i++)
        if (name[i] != word.p[i] && !(name[i] == '_' && word.p[i] == '-') &&
            !(name[i] == '-' && word.p[i] == '_'))
            return false;
    return true;
}

static const struct option *find(const struct command *c, struct str word)
{
    for (size_t i = 0; i < c->option_count; i++)
        if (same_name(c->options[i].name, word) || same_name(c->options[i].also, word))
            return &c->options[i];
    return NULL;
}

static const char *nearest(const struct command *c, struct str word)
{
    const char *name[NAMES_MAX] = { "help" };
    size_t count = 1;
    for (size_t i = 0; i < c->option_count && count + 1 < NAMES_MAX; i++) {
        if (c->options[i].type == OPT_TITLE)
            continue;
        name[count++] = c->options[i].name;
        if (c->options[i].also != NULL)
            name[count++] = c->options[i].also;
    }
    return str_nearest(word, name, count);
}

static status unknown(struct parser *p, struct str word)
{
    const char *near = nearest(p->command, word);
    if (near != NULL)
        return err_set(&p->err, INVALID, "no option --%.*s; did you mean --%s?", STR_ARG(word),
                       near);
    return err_set(&p->err, INVALID, "no option --%.*s; '%s --help' lists them", STR_ARG(word),
                   p->command->name);
}

static void words_add(struct arena *a, struct words *w, const char *word)
{
    const char **grown = arena_alloc(a, ((size_t)w->count + 1) * sizeof(*grown));
    if (w->count > 0)
        memcpy(grown, w->word, (size_t)w->count * sizeof(*grown));
    grown[w->count] = word;
    *w = (struct words){ grown, w->count + 1 };
}

static void words_cut(struct arena *a, struct words *w, struct str list)
{
    struct str head;
    bool more = true;
    while (more) {
        more = str_cut(&list, ',', &head);
        if (head.n != 0)
            words_add(a, w, arena_strndup(a, head.p, head.n));
    }
}

static bool bounded(const struct option *o)
{
    return o->min != 0 || o->max != 0;
}

static status set_int(const struct option *o, struct str text, int64_t *field, struct err *e)
{
    int64_t v;
    if (str_to_i64(text, &v) && (!bounded(o) || ((double)v >= o->min && (double)v <= o->max))) {
        *field = v;
        return OK;
    }
    if (!bounded(o))
        return err_set(e, INVALID, "--%s: '%.*s' is no whole number", o->name, STR_ARG(text));
    return err_set(e, INVALID, "--%s: '%.*s' is no whole number from %.0f to %.0f", o->name,
                   STR_ARG(text), o->min, o->max);
}

static status set_real(const struct option *o, struct str text, double *field, struct err *e)
{
    double v;
    if (str_to_double(text, &v) && (!bounded(o) || (v >= o->min && v <= o->max))) {
        *field = v;
        return OK;
    }
    return err_set(e, INVALID, "--%s: '%.*s' is no number from %g to %g", o->name, STR_ARG(text),
                   o->min, o->max);
}

static status set_choice(const struct option *o, struct str text, const char **field,
                         struct arena *a, struct err *e)
{
    struct str rest = str_of(o->value), word;
    bool more = true;
    while (more) {
        more = str_cut(&rest, '|', &word);
        if (str_eq(word, text)) {
            *field = arena_strndup(a, word.p, word.n);
            return OK;
        }
    }
    return err_set(e, INVALID, "--%s: '%.*s' is not one of %s", o->name, STR_ARG(text), o->value);
}

static status set(struct parser *p, const struct option *o, const char *value)
{
    void *field = p->args + o->offset;
    struct str text = str_of(value);
    switch (o->type) {
    case OPT_FLAG: *(bool *)field = true; return OK;
    case OPT_INT: return set_int(o, text, field, &p->err);
    case OPT_REAL: return set_real(o, text, field, &p->err);
    case OPT_TEXT: *(const char **)field = value; return OK;
    case OPT_CHOICE: return set_choice(o, text, field, p->arena, &p->err);
    case OPT_LIST: words_add(p->arena, field, value); return OK;
    case OPT_NAMES: words_cut(p->arena, field, text); return OK;
    case OPT_TITLE: return OK;
    }
    return OK;
}

/* A lone "-" and negative numbers are values. */
static bool is_option(const char *word)
{
    return word[0] == '-' && word[1] != '\0' && !(word[1] >= '0' && word[1] <= '9') &&
           word[1] != '.';
}

static status take_value(struct parser *p, const struct option *o, const char *attached)
{
    if (o->type == OPT_FLAG)
        return attached == NULL ? set(p, o, "")
                                : err_set(&p->err, INVALID, "--%s takes no value", o->name);
    if (attached != NULL)
        return set(p, o, attached);
    if (p->at == p->argc || is_option(p->argv[p->at]))
        return err_set(&p->err, INVALID, "--%s wants a value: %s", o->name, o->value);
    TRY(set(p, o, p->argv[p->at++]));
    while (o->type == OPT_LIST && p->at < p->argc && !is_option(p->argv[p->at]))
        TRY(set(p, o, p->argv[p->at++]));
    return OK;
}

static status take_word(struct parser *p)
{
    const char *word = p->argv[p->at++];
    struct words *positional = (struct words *)(void *)(p->args + p->command->positional);
    if (!is_option(word)) {
        if (positional->count == p->command->positional_max)
            return err_set(&p->err, INVALID, "'%s' is one word too many; usage: %s %s", word,
                           p->command->name, p->command->usage);
        words_add(p->arena, positional, word);
        return OK;
    }
    struct str name = str_of(word + strspn(word, "-"));
    const char *equals = memchr(name.p, '=', name.n);
    if (equals != NULL)
        name.n = (size_t)(equals - name.p);
    const struct option *o = word[1] == '-' ? find(p->command, name) : NULL;
    return o != NULL ? take_value(p, o, equals != NULL ? equals + 1 : NULL) : unknown(p, name);
}

static bool wants_help(int argc, char **argv)
{
    for (int i = 0; i < argc; i++)
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
            return true;
    return false;
}

/* Words in lines of at most HELP_WIDTH, from this column on; the cursor is at column `at` of the first line. */
static void put_words(int column, int at, const char *words)
{
    struct str rest = str_of(words), word;
    printf("%*s", column - at, "");
    at = column;
    for (bool more = true, first = true; more; first = false, at += (int)word.n) {
        more = str_cut(&rest, ' ', &word);
        if (!first && at + 1 + (int)word.n > HELP_WIDTH) {
            printf("\n%*s", column, "");
            at = column;
        } else if (!first) {
            at += printf(" ");
        }
        printf("%.*s", STR_ARG(word));
    }
    printf("\n");
}

static void put_option(const struct option *o)
{
    char words[1024];
    if (o->type == OPT_TITLE) {
        printf("\n%s:\n", o->help);
        return;
    }
    int n = printf("  --%s%s%s", o->name, o->value != NULL ? " " : "",
                   o->value != NULL ? o->value : "");
    bool default_told = o->fallback != NULL && o->fallback[0] != '\0';
    snprintf(words, sizeof(words), "%s%s%s%s%s%s%s", o->help, o->also != NULL ? " (also --" : "",
             o->also != NULL ? o->also : "", o->also != NULL ? ")" : "",
             default_told ? " (default " : "", default_told ? o->fallback : "",
             default_told ? ")" : "");
    if (n >= HELP_COLUMN - 1) { /* the name took all the room */
        printf("\n");
        n = 0;
    }
    put_words(HELP_COLUMN, n, words);
}

static void print_help(const struct command *c)
{
    int n = printf("usage: %s%s", c->name, c->usage[0] != '\0' ? " " : "");
    put_words(n, n, c->usage);
    printf("\n");
    put_words(0, 0, c->about);
    if (c->option_count == 0 || c->options[0].type != OPT_TITLE)
        printf("\noptions:\n");
    for (size_t i = 0; i < c->option_count; i++)
        put_option(&c->options[i]);
    put_option(&(struct option){ .name = "help", .help = "this text" });
    printf("\nexamples:\n%s", c->examples);
}

static status parse(struct parser *p)
{
    const struct command *c = p->command;
    for (size_t i = 0; i < c->option_count; i++)
        if (c->options[i].fallback != NULL)
            TRY(set(p, &c->options[i], c->options[i].fallback));
    while (p->at < p->argc)
        TRY(take_word(p));
    if (((struct words *)(void *)(p->args + c->positional))->count < c->positional_min)
        return err_set(&p->err, INVALID, "usage: %s %s", c->name, c->usage);
    return OK;
}

bool options_parse(const struct command *c, int argc, char **argv, struct arena *a, void *args,
                   int *exit_status)
{
    struct parser p = { .command = c, .arena = a, .args = args, .argc = argc, .argv = argv };
    *exit_status = EXIT_FINE;
    if (wants_help(argc, argv)) {
        print_help(c);
        return false;
    }
    if (parse(&p) == OK)
        return true;
    *exit_status = command_misused(c, "%s", p.err.text);
    return false;
}

int command_failed(const struct command *c, const struct err *e)
{
    fprintf(stderr, "%s: %s\n", c->name, e->text);
    return EXIT_FAILED;
}

int command_misused(const struct command *c, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    fprintf(stderr, "%s: ", c->name);
    /* The analyzer loses va_start where it looks into this from a caller in the same file. */
    vfprintf(stderr, fmt, ap); /* NOLINT(clang-analyzer-valist.Uninitialized) */
    fputc('\n', stderr);
    va_end(ap);
    return EXIT_USAGE;
}
