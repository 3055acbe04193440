/* From PIR's operators to ProgramDesc's. Values get names: a parameter and a feed have theirs, others are made of their
 * numbers ("%v12"). Lists of tensors (0.combine, 0.split) are names only, and numbers that PIR makes operators of (full,
 * full_int_array) are attributes where the older operator has one.
 *
 * Control flow becomes assignments: a loop's values are variables that its body writes, as the older format has it; a
 * branch's results are variables that both branches write. */
#include "import/pir/list.h"
#include "import/pir/parse.h"
#include "import/pir/pir.h"
#include "import/pir/table.h"
#include "import/unknown.h"

#include "base/limits.h"

#include <stdio.h>
#include <string.h>

/* Numbers that the program itself knows. */
struct known {
    bool is_float, is_list;
    const int64_t *i;
    const double *f;
    int count;
};

/* What an id stands for. */
struct entry {
    struct str *name; /* one, or those of a list; NULL: nothing so far */
    int count;
    bool is_list;
    const struct known *known; /* NULL: computed */
    int32_t data_type;         /* VarType.Type of a tensor */
};

struct translate {
    struct arena *arena;
    struct program *program;
    struct entry *result, *arg; /* by id, and by -id */
    int64_t result_max, arg_max;
    int block; /* in whose list operators go now */
    int names; /* made so far */
    int index; /* of the operator in its block, for words */
    const struct pir_op *op;
    struct err *err;
};

static status no_memory(struct translate *t)
{
    return err_set(t->err, NO_MEMORY, "no memory for the program");
}

static status fault(struct translate *t, status code, const char *what)
{
    return err_set(t->err, code, "operator '%.*s' (operator %d): %s", STR_ARG(t->op->name),
                   t->index, what);
}

/* ---- names and types ---- */

static struct str make_name(struct translate *t, char kind, int64_t id, int part)
{
    return str_of(arena_printf(t->arena, "%%%c%lld.%d", kind, (long long)id, part));
}

bool pir_result_named(struct str name, int64_t *id, int *part)
{
    struct str number;
    int64_t n;
    if (!str_starts(name, "%v"))
        return false;
    name = (struct str){ name.p + 2, name.n - 2 };
    if (!str_cut(&name, '.', &number) || !str_to_i64(number, id) || !str_to_i64(name, &n))
        return false;
    *part = (int)n;
    return true;
}

static struct entry *entry_of(struct translate *t, int64_t id)
{
    if (id > 0 && id <= t->result_max)
        return &t->result[id];
    return id < 0 && id >= -t->arg_max ? &t->arg[-id] : NULL;
}

static int32_t data_type_of(struct str element)
{
    // clang-format off
    static const struct { const char *name; int32_t code; } row[] = {
        { "bool", 0 }, { "i16", 1 }, { "i32", 2 }, { "i64", 3 }, { "f16", 4 }, { "f32", 5 }, { "f64", 6 },
        { "ui8", 20 }, { "i8", 21 }, { "bf16", 22 }, { "c64", 23 }, { "c128", 24 },
    };
    // clang-format on
    for (size_t i = 0; i < ARRAY_LEN(row); i++)
        if (element.n > 4 && str_is((struct str){ element.p + 4, element.n - 4 }, row[i].name))
            return row[i].code;
    return -1;
}

/* The code for an attribute's "float32"; -1 where it says that there is none. */
static int32_t data_type_named(struct str name)
{
    // clang-format off
    static const struct { const char *name; int32_t code; } row[] = {
        { "bool", 0 }, { "int16", 1 }, { "int32", 2 }, { "int64", 3 }, { "float16", 4 }, { "float32", 5 },
        { "float64", 6 }, { "uint8", 20 }, { "int8", 21 }, { "bfloat16", 22 }, { "complex64", 23 },
        { "complex128", 24 },
    };
    // clang-format on
    for (size_t i = 0; i < ARRAY_LEN(row); i++)
        if (str_is(name, row[i].name))
            return row[i].code;
    return -1;
}

static status declare(struct translate *t, struct str name, const struct pir_type *type,
                      bool persistable)
{
    struct block_desc *b = &t->program->block[t->block];
    struct var_desc *v = pir_push(t->arena, &b->var, &b->var_count, sizeof(*v));
    if (v == NULL)
        return no_memory(t);
    *v = (struct var_desc){ .name = name,
                            .kind = type->is_array ? VAR_TENSOR_ARRAY : VAR_LOD_TENSOR,
                            .data_type = data_type_of(type->element),
                            .persistable = persistable,
                            .shape = type->shape,
                            .lod_level = type->lod_level };
    return OK;
}

static struct str *one_name(struct translate *t, struct str name)
{
    struct str *copy = arena_alloc(t->arena, sizeof(*copy));
    *copy = name;
    return copy;
}

/* Names the result v, or all of a list's tensors. */
static status name_value(struct translate *t, const struct pir_value *v)
{
    struct entry *x = entry_of(t, v->id);
    if (x == NULL || x->name != NULL)
        return fault(t, CORRUPT, "one of its results has been made before");
    int count = v->type.is_list ? v->type.item_count : 1;
    x->name = arena_try_array(t->arena, (size_t)count + 1, sizeof(*x->name));
    if (x->name == NULL)
        return no_memory(t);
    x->count = count;
    x->is_list = v->type.is_list;
    x->data_type = data_type_of(v->type.element);
    for (int i = 0; i < count; i++) {
        x->name[i] = make_name(t, 'v', v->id, i);
        TRY(declare(t, x->name[i], x->is_list ? &v->type.item[i] : &v->type, false));
    }
    return OK;
}

static status operand(struct translate *t, int i, struct entry **out)
{
    *out = i < t->op->in_count ? entry_of(t, t->op->in[i]) : NULL;
    if (i < t->op->in_count && t->op->in[i] != 0 && (*out == NULL || (*out)->name == NULL))
        return fault(t, CORRUPT, "one of its operands is made nowhere before it");
    return OK;
}

static status need_operand(struct translate *t, int i, struct entry **out)
{
    TRY(operand(t, i, out));
    return *out != NULL ? OK : fault(t, CORRUPT, "an operand is missing");
}

/* ---- building operators ---- */

static struct op_desc *add_op(struct translate *t, const char *type)
{
    struct block_desc *b = &t->program->block[t->block];
    struct op_desc *op = pir_push(t->arena, &b->op, &b->op_count, sizeof(*op));
    if (op != NULL)
        op->type = str_of(type);
    return op;
}

static bool add_slot(struct translate *t, struct slot_desc **list, int *count, struct str name,
                     struct str *arg, int arg_count)
{
    struct slot_desc *s = pir_push(t->arena, list, count, sizeof(*s));
    if (s != NULL)
        *s = (struct slot_desc){ name, arg, arg_count };
    return s != NULL;
}

static bool add_in(struct translate *t, struct op_desc *op, const char *slot, struct str *arg)
{
    return add_slot(t, &op->in, &op->in_count, str_of(slot), arg, 1);
}

static bool add_out(struct translate *t, struct op_desc *op, const char *slot, struct str *arg)
{
    return add_slot(t, &op->out, &op->out_count, str_of(slot), arg, 1);
}

static struct attr_desc *add_attr(struct translate *t, struct op_desc *op, struct str name,
                                  int32_t kind)
{
    struct attr_desc *a = pir_push(t->arena, &op->attr, &op->attr_count, sizeof(*a));
    if (a != NULL)
        *a = (struct attr_desc){ .name = name, .kind = kind };
    return a;
}

static status add_int(struct translate *t, struct op_desc *op, const char *name, int32_t kind,
                      int64_t value)
{
    struct attr_desc *a = add_attr(t, op, str_of(name), kind);
    if (a == NULL)
        return no_memory(t);
    a->i = value;
    return OK;
}

/* to = from */
static status add_assign(struct translate *t, struct str from, struct str to)
{
    struct op_desc *op = add_op(t, "assign");
    if (op == NULL || !add_in(t, op, "X", one_name(t, from)) ||
        !add_out(t, op, "Out", one_name(t, to)))
        return no_memory(t);
    return OK;
}

/* ---- attributes ---- */

/* The next word of a row; false behind the last. */
static bool next_word(struct str *text, struct str *word)
{
    while (text->n > 0 && *text->p == ' ')
        *text = (struct str){ text->p + 1, text->n - 1 };
    if (text->n == 0)
        return false;
    str_cut(text, ' ', word);
    return true;
}

/* The older name of an attribute. */
static struct str renamed(const struct pir_row *row, struct str name)
{
    struct str text = str_of(row->attrs), word, from;
    while (next_word(&text, &word))
        if (memchr(word.p, ':', word.n) != NULL && str_cut(&word, ':', &from) && str_eq(from, name))
            return word;
    return name;
}

static bool is_kind(const struct pir_attr *a, const char *kind)
{
    return a->kind.n > 2 && str_is((struct str){ a->kind.p + 2, a->kind.n - 2 }, kind);
}

static void fill_list(const struct pir_attr *a, struct attr_desc *to)
{
    bool is_float = is_kind(a, "a_f32") || is_kind(a, "a_f64");
    to->kind = is_float ? KIND_FLOATS : is_kind(a, "a_bool") ? KIND_BOOLEANS : KIND_LONGS;
    if (is_float) {
        to->floats = a->floats;
        to->float_count = a->count;
    } else {
        to->ints = a->ints;
        to->int_count = a->count;
    }
}

static void fill_scalar(const struct pir_attr *a, struct attr_desc *to)
{
    to->i = a->i;
    to->f = a->f;
    to->s = a->s;
    if (is_kind(a, "a_bool"))
        to->kind = KIND_BOOLEAN;
    else if (is_kind(a, "a_f32") || is_kind(a, "a_f64"))
        to->kind = KIND_FLOAT64;
    else if (is_kind(a, "a_str"))
        to->kind = KIND_STRING;
    else
        to->kind = KIND_LONG;
}

static status copy_attr(struct translate *t, const struct pir_row *row, const struct pir_attr *a,
                        struct op_desc *op)
{
    int32_t type = is_kind(a, "a_dtype") ? data_type_named(a->s) : -1;
    bool says_nothing = is_kind(a, "a_place") || (is_kind(a, "a_dtype") && type < 0);
    if (says_nothing || (a->is_list && a->count == 0))
        return OK;
    struct attr_desc *to = add_attr(t, op, renamed(row, a->name), KIND_INT);
    if (to == NULL)
        return no_memory(t);
    if (type >= 0)
        to->i = type;
    else if (a->is_list)
        fill_list(a, to);
    else
        fill_scalar(a, to);
    return OK;
}

/* Those that the row says: "lower=1". */
static status add_row_attrs(struct translate *t, const struct pir_row *row, struct op_desc *op)
{
    struct str text = str_of(row->attrs), word, name;
    while (next_word(&text, &word)) {
        if (memchr(word.p, '=', word.n) == NULL || !str_cut(&word, '=', &name))
            continue;
        struct attr_desc *a = add_attr(t, op, name, KIND_LONG);
        if (a == NULL || !str_to_i64(word, &a->i))
            return no_memory(t);
    }
    return OK;
}

static status add_known(struct translate *t, struct op_desc *op, struct str name,
                        const struct known *k)
{
    struct attr_desc *a = add_attr(t, op, name, KIND_LONG);
    if (a == NULL)
        return no_memory(t);
    if (k->is_list) {
        a->kind = k->is_float ? KIND_FLOATS : KIND_LONGS;
        a->ints = k->is_float ? NULL : (int64_t *)k->i;
        a->int_count = k->is_float ? 0 : k->count;
        a->floats = k->is_float ? (double *)k->f : NULL;
        a->float_count = k->is_float ? k->count : 0;
    } else if (k->is_float && (double)k->i[0] != k->f[0]) { /* whole numbers serve both */
        a->kind = KIND_FLOAT64;
        a->f = k->f[0];
    } else {
        a->i = k->i[0];
    }
    return OK;
}

/* ---- operands and results by the words of a row ---- */

/* "attribute@Slot/List" taken apart; words that are missing are empty. */
struct operand_word {
    struct str attr, slot, list;
};

static struct operand_word split_word(struct str word)
{
    struct operand_word w = { .slot = word };
    if (memchr(word.p, '@', word.n) == NULL)
        return w;
    str_cut(&w.slot, '@', &w.attr);
    if (w.attr.n == 0) { /* "@axis" */
        w.attr = w.slot;
        w.slot = (struct str){ 0 };
    } else {
        w.list = w.slot;
        if (memchr(w.slot.p, '/', w.slot.n) != NULL) {
            struct str both = w.slot;
            str_cut(&both, '/', &w.slot);
            w.list = both;
        }
    }
    return w;
}

static status add_operand(struct translate *t, struct op_desc *op, struct str word, int i)
{
    struct operand_word w = split_word(word);
    struct entry *x;
    TRY(operand(t, i, &x));
    if (x == NULL || str_is(word, "-"))
        return OK;
    if (w.attr.n > 0 && x->known != NULL)
        return add_known(t, op, w.attr, x->known);
    struct str slot = x->is_list && w.list.n > 0 ? w.list : w.slot;
    if (slot.n == 0)
        return err_set(t->err, UNSUPPORTED,
                       "operator '%.*s' (operator %d): its %.*s is computed; only what the "
                       "program itself says is supported there",
                       STR_ARG(t->op->name), t->index, STR_ARG(w.attr));
    return add_slot(t, &op->in, &op->in_count, slot, x->name, x->count) ? OK : no_memory(t);
}

static status add_result(struct translate *t, struct op_desc *op, struct str word, int i)
{
    TRY(name_value(t, &t->op->out[i]));
    const struct entry *x = entry_of(t, t->op->out[i].id);
    if (str_is(word, "-"))
        return OK;
    return add_slot(t, &op->out, &op->out_count, word, x->name, x->count) ? OK : no_memory(t);
}

static status translate_row(struct translate *t, const struct pir_row *row)
{
    struct op_desc made = { .type = str_of(row->type) }, *op;
    struct str in = str_of(row->in), out = str_of(row->out), word;
    for (int i = 0; i < t->op->in_count; i++)
        TRY(add_operand(t, &made, next_word(&in, &word) ? word : str_of("-"), i));
    for (int i = 0; i < t->op->out_count; i++)
        TRY(add_result(t, &made, next_word(&out, &word) ? word : str_of("-"), i));
    for (int i = 0; i < t->op->attr_count; i++)
        TRY(copy_attr(t, row, &t->op->attr[i], &made));
    TRY(add_row_attrs(t, row, &made));
    op = add_op(t, row->type);
    if (op == NULL)
        return no_memory(t);
    *op = made;
    return OK;
}

/* ---- numbers ---- */

static const struct pir_attr *find_attr(const struct pir_op *op, const char *name)
{
    for (int i = 0; i < op->attr_count; i++)
        if (str_is(op->attr[i].name, name))
            return &op->attr[i];
    return NULL;
}

static struct known *new_known(struct translate *t, int count, int64_t **i, double **f)
{
    struct known *k = arena_zalloc(t->arena, sizeof(*k));
    *i = arena_try_array(t->arena, (size_t)count + 1, sizeof(**i));
    *f = arena_try_array(t->arena, (size_t)count + 1, sizeof(**f));
    k->i = *i;
    k->f = *f;
    k->count = count;
    return *i != NULL && *f != NULL ? k : NULL;
}

static bool is_float_type(int32_t data_type)
{
    return data_type == 4 || data_type == 5 || data_type == 6 || data_type == 22;
}

/* A full of one element is a number, too. */
static status note_full(struct translate *t)
{
    const struct pir_attr *value = find_attr(t->op, "value");
    struct entry *x = entry_of(t, t->op->out[0].id);
    int64_t *i;
    double *f;
    if (value == NULL || value->is_list || shape_numel(&t->op->out[0].type.shape) != 1)
        return OK;
    struct known *k = new_known(t, 1, &i, &f);
    if (k == NULL)
        return no_memory(t);
    bool is_float = is_kind(value, "a_f32") || is_kind(value, "a_f64");
    *f = is_float ? value->f : (double)value->i;
    *i = is_float ? f64_to_i64(value->f) : value->i;
    k->is_float = is_float_type(x->data_type);
    x->known = k;
    return OK;
}

static status note_int_array(struct translate *t)
{
    const struct pir_attr *value = find_attr(t->op, "value");
    int64_t *i;
    double *f;
    if (value == NULL || !value->is_list)
        return fault(t, CORRUPT, "attribute 'value' is not a list");
    struct known *k = new_known(t, value->count, &i, &f);
    if (k == NULL)
        return no_memory(t);
    k->is_list = true;
    for (int n = 0; n < value->count; n++)
        i[n] = value->ints[n];
    entry_of(t, t->op->out[0].id)->known = k;
    return OK;
}

/* full_int_array becomes assign_value, which wants to be told its shape. */
static status translate_int_array(struct translate *t, const struct pir_row *row)
{
    TRY(translate_row(t, row));
    TRY(note_int_array(t));
    struct block_desc *b = &t->program->block[t->block];
    struct op_desc *op = &b->op[b->op_count - 1];
    struct attr_desc *shape = add_attr(t, op, str_of("shape"), KIND_LONGS);
    int64_t *count = arena_alloc(t->arena, sizeof(*count));
    if (shape == NULL)
        return no_memory(t);
    *count = entry_of(t, t->op->out[0].id)->known->count;
    shape->ints = count;
    shape->int_count = 1;
    return OK;
}

/* ---- lists ---- */

/* A list of numbers that are all known is known. */
static status note_combined(struct translate *t, struct entry *list)
{
    int64_t *i;
    double *f;
    struct known *k = new_known(t, t->op->in_count, &i, &f);
    if (k == NULL)
        return no_memory(t);
    k->is_list = true;
    for (int n = 0; n < t->op->in_count; n++) {
        const struct entry *x = entry_of(t, t->op->in[n]);
        if (x == NULL || x->known == NULL || x->known->count != 1)
            return OK;
        i[n] = x->known->i[0];
        f[n] = x->known->f[0];
        k->is_float = k->is_float || x->known->is_float;
    }
    list->known = k;
    return OK;
}

static status translate_combine(struct translate *t)
{
    struct entry *list = t->op->out_count == 1 ? entry_of(t, t->op->out[0].id) : NULL, *x;
    if (list == NULL || list->name != NULL)
        return fault(t, CORRUPT, "expected one result, not made before");
    list->name = arena_try_array(t->arena, (size_t)t->op->in_count + 1, sizeof(*list->name));
    if (list->name == NULL)
        return no_memory(t);
    list->is_list = true;
    for (int i = 0; i < t->op->in_count; i++) {
        TRY(operand(t, i, &x));
        if (x != NULL && x->count == 1)
            list->name[list->count++] = x->name[0];
        else if (x != NULL)
            return fault(t, UNSUPPORTED, "a list in a list");
    }
    return note_combined(t, list);
}

/* The results are other words for the list's tensors. */
static status translate_split(struct translate *t)
{
    struct entry *list;
    TRY(need_operand(t, 0, &list));
    if (list->count != t->op->out_count)
        return fault(t, CORRUPT, "it does not give as many results as the list has tensors");
    for (int i = 0; i < list->count; i++) {
        struct entry *x = entry_of(t, t->op->out[i].id);
        if (x == NULL || x->name != NULL)
            return fault(t, CORRUPT, "one of its results has been made before");
        *x = (struct entry){ .name = &list->name[i],
                             .count = 1,
                             .data_type = data_type_of(t->op->out[i].type.element) };
    }
    return OK;
}

/* One of the list's tensors under another number. */
static status translate_item(struct translate *t)
{
    const struct pir_attr *index = find_attr(t->op, "index");
    struct entry *list, *x = t->op->out_count == 1 ? entry_of(t, t->op->out[0].id) : NULL;
    TRY(need_operand(t, 0, &list));
    if (x == NULL || x->name != NULL || index == NULL || index->i < 0 || index->i >= list->count)
        return fault(t, CORRUPT, "it does not name one of the list's tensors");
    *x = (struct entry){ .name = &list->name[index->i],
                         .count = 1,
                         .data_type = data_type_of(t->op->out[0].type.element) };
    return OK;
}

/* ---- arrays: variables that operators append to, and what is written is the variable again ---- */

static status translate_create_array(struct translate *t)
{
    if (t->op->out_count != 1 || !t->op->out[0].type.is_array)
        return fault(t, CORRUPT, "expected one array as result");
    TRY(name_value(t, &t->op->out[0]));
    struct op_desc *op = add_op(t, "create_array");
    return op != NULL && add_out(t, op, "Out", entry_of(t, t->op->out[0].id)->name) ? OK
                                                                                    : no_memory(t);
}

/* array, item, place */
static status translate_array_write(struct translate *t)
{
    struct entry *array, *item, *place, *x;
    TRY(need_operand(t, 0, &array));
    TRY(need_operand(t, 1, &item));
    TRY(need_operand(t, 2, &place));
    x = t->op->out_count == 1 ? entry_of(t, t->op->out[0].id) : NULL;
    if (x == NULL || x->name != NULL || array->count != 1)
        return fault(t, CORRUPT, "expected one array, and one result that is not made before");
    struct op_desc *op = add_op(t, "write_to_array");
    if (op == NULL || !add_in(t, op, "X", item->name) || !add_in(t, op, "I", place->name) ||
        !add_out(t, op, "Out", array->name))
        return no_memory(t);
    *x = (struct entry){ .name = array->name, .count = 1 };
    return OK;
}

/* ---- ends ---- */

static status translate_param(struct translate *t)
{
    struct entry *x = t->op->out_count == 1 ? entry_of(t, t->op->out[0].id) : NULL;
    if (x == NULL || x->name != NULL || t->op->param.n == 0)
        return fault(t, CORRUPT, "a parameter without a name, or two of one number");
    *x = (struct entry){ .name = one_name(t, t->op->param), .count = 1 };
    return declare(t, t->op->param, &t->op->out[0].type, t->op->persistable);
}

static status translate_data(struct translate *t)
{
    const struct pir_attr *name = find_attr(t->op, "name");
    struct entry *x = t->op->out_count == 1 ? entry_of(t, t->op->out[0].id) : NULL;
    if (x == NULL || x->name != NULL || name == NULL || name->s.n == 0)
        return fault(t, CORRUPT, "an input without a name, or two of one number");
    *x = (struct entry){ .name = one_name(t, name->s), .count = 1 };
    TRY(declare(t, name->s, &t->op->out[0].type, false));
    struct op_desc *op = add_op(t, "feed");
    return op != NULL && add_out(t, op, "Out", x->name) ? OK : no_memory(t);
}

/* The output's name is the operator's, since a value may be fetched twice. */
static status translate_fetch(struct translate *t)
{
    const struct pir_attr *name = find_attr(t->op, "name"), *col = find_attr(t->op, "col");
    struct entry *x;
    TRY(need_operand(t, 0, &x));
    if (name == NULL || name->s.n == 0 || x->count != 1)
        return fault(t, CORRUPT, "an output without a name, or of more than one tensor");
    TRY(declare(t, name->s, t->op->out_count > 0 ? &t->op->out[0].type : &(struct pir_type){ 0 },
                false));
    TRY(add_assign(t, x->name[0], name->s));
    struct op_desc *op = add_op(t, "fetch");
    if (op == NULL || !add_in(t, op, "X", one_name(t, name->s)))
        return no_memory(t);
    return add_int(t, op, "col", KIND_INT, col != NULL ? col->i : 0);
}

/* ---- control flow ---- */

/* What a block's yield assigns to: the loop's condition and values, or a branch's results. */
struct yield_to {
    struct str *name;
    int count;
    bool all_at_once; /* each is read before any is written */
};

static status translate_block(struct translate *t, const struct pir_block *b,
                              const struct yield_to *to);

/* Translates b into a block of its own; *index: its number. */
static status translate_inner(struct translate *t, const struct pir_block *b,
                              const struct yield_to *to, int *index)
{
    int outer = t->block, at = t->index;
    const struct pir_op *op = t->op;
    *index = t->program->block_count;
    if (pir_push(t->arena, &t->program->block, &t->program->block_count,
                 sizeof(*t->program->block)) == NULL)
        return no_memory(t);
    t->block = *index;
    TRY(translate_block(t, b, to));
    t->block = outer;
    t->index = at;
    t->op = op;
    return OK;
}

static status translate_yield(struct translate *t, const struct yield_to *to)
{
    struct entry *x;
    if (to == NULL || to->count != t->op->in_count)
        return fault(t, CORRUPT, "it does not yield as many values as are expected");
    struct str *from = arena_zalloc(t->arena, ((size_t)to->count + 1) * sizeof(*from));
    for (int i = 0; i < to->count; i++) {
        TRY(need_operand(t, i, &x));
        from[i] = x->name[0];
        if (to->all_at_once) {
            struct str kept = make_name(t, 't', ++t->names, i);
            TRY(add_assign(t, from[i], kept));
            from[i] = kept;
        }
    }
    for (int i = 0; i < to->count; i++)
        TRY(add_assign(t, from[i], to->name[i]));
    return OK;
}

/* Result i is the variable name[i]. */
static status bind_results(struct translate *t, const struct str *name)
{
    for (int i = 0; i < t->op->out_count; i++) {
        struct entry *x = entry_of(t, t->op->out[i].id);
        if (x == NULL || x->name != NULL)
            return fault(t, CORRUPT, "one of its results has been made before");
        *x = (struct entry){ .name = one_name(t, name[i]), .count = 1 };
        TRY(declare(t, name[i], &t->op->out[i].type, false));
    }
    return OK;
}

static struct str *make_names(struct translate *t, char kind, int count)
{
    struct str *name = arena_zalloc(t->arena, ((size_t)count + 1) * sizeof(*name));
    t->names++;
    for (int i = 0; i < count; i++)
        name[i] = make_name(t, kind, t->names, i);
    return name;
}

static status bind_args(struct translate *t, const struct pir_block *body, struct str *name)
{
    for (int i = 0; i < body->arg_count; i++) {
        struct entry *x = entry_of(t, body->arg[i].id);
        if (x == NULL)
            return fault(t, CORRUPT, "what its block is given has no number");
        *x = (struct entry){ .name = &name[i], .count = 1 };
    }
    return OK;
}

/* name[0] is the condition, the loop's values follow. */
static status translate_while(struct translate *t)
{
    int count = t->op->in_count, index;
    if (t->op->block_count != 1 || count < 1 || t->op->out_count != count - 1 ||
        t->op->block[0].arg_count != count - 1)
        return fault(t, CORRUPT, "its operands, results and block do not go together");
    const struct pir_op *loop = t->op;
    struct str *name = make_names(t, 'w', count);
    struct entry *x;
    for (int i = 0; i < count; i++) {
        TRY(need_operand(t, i, &x));
        TRY(add_assign(t, x->name[0], name[i]));
    }
    TRY(bind_args(t, &loop->block[0], name + 1));
    struct yield_to to = { name, count, true };
    TRY(translate_inner(t, &loop->block[0], &to, &index));
    TRY(bind_results(t, name + 1));
    struct op_desc *op = add_op(t, "while");
    if (op == NULL || !add_in(t, op, "Condition", name))
        return no_memory(t);
    return add_int(t, op, "sub_block", KIND_BLOCK, index);
}

static status add_branch(struct translate *t, const struct pir_block *b, struct str *condition,
                         const struct yield_to *to)
{
    int index;
    TRY(translate_inner(t, b, to, &index));
    struct op_desc *op = add_op(t, "conditional_block");
    if (op == NULL || !add_in(t, op, "Cond", condition))
        return no_memory(t);
    TRY(add_int(t, op, "is_scalar_condition", KIND_BOOLEAN, 1));
    return add_int(t, op, "sub_block", KIND_BLOCK, index);
}

/* Two branches that write the same variables, the second one where the condition does not hold. */
static status translate_if(struct translate *t)
{
    struct entry *x;
    TRY(need_operand(t, 0, &x));
    if (t->op->block_count != 2)
        return fault(t, CORRUPT, "expected two blocks");
    const struct pir_op *branch = t->op;
    struct str *name = make_names(t, 'i', branch->out_count), *otherwise = make_names(t, 'n', 1);
    struct yield_to to = { name, branch->out_count, false };
    TRY(bind_results(t, name));
    TRY(declare(t, otherwise[0],
                &(struct pir_type){ .element = str_of("0.t_bool"), .shape = SHAPE(1) }, false));
    TRY(add_branch(t, &branch->block[0], x->name, &to));
    struct op_desc *op = add_op(t, "logical_not");
    if (op == NULL || !add_in(t, op, "X", x->name) || !add_out(t, op, "Out", otherwise))
        return no_memory(t);
    return add_branch(t, &branch->block[1], otherwise, &to);
}

/* ---- the walk ---- */

/* "conv2d" of "1.conv2d"; empty where it is of another dialect. */
static struct str op_of_dialect(struct str name)
{
    if (!str_starts(name, "1."))
        return (struct str){ 0 };
    return (struct str){ name.p + 2, name.n - 2 };
}

typedef status special_fn(struct translate *t);

static special_fn *find_special(struct str name)
{
    // clang-format off
    static const struct { const char *name; special_fn *fn; } row[] = {
        { "p", translate_param },         { "1.data", translate_data },     { "1.fetch", translate_fetch },
        { "0.combine", translate_combine }, { "0.split", translate_split }, { "1.while", translate_while },
        { "1.if", translate_if },         { "0.slice", translate_item },    { "1.create_array", translate_create_array },
        { "1.create_array_like", translate_create_array }, { "1.array_write_", translate_array_write },
    };
    // clang-format on
    for (size_t i = 0; i < ARRAY_LEN(row); i++)
        if (str_is(name, row[i].name))
            return row[i].fn;
    return NULL;
}

static status translate_op(struct translate *t, const struct yield_to *to)
{
    special_fn *special = find_special(t->op->name);
    const struct pir_row *row = pir_row_find(op_of_dialect(t->op->name));
    if (special != NULL)
        return special(t);
    if (str_is(t->op->name, "2.yield"))
        return translate_yield(t, to);
    if (row == NULL)
        return fault(t, UNSUPPORTED, "not supported");
    bool list = str_is(t->op->name, "1.full_int_array"), full = str_is(t->op->name, "1.full");
    if ((list || full) && t->op->out_count != 1)
        return fault(t, CORRUPT, "expected one result");
    if (list)
        return translate_int_array(t, row);
    TRY(translate_row(t, row));
    return full ? note_full(t) : OK;
}

static status translate_block(struct translate *t, const struct pir_block *b,
                              const struct yield_to *to)
{
    for (int i = 0; i < b->op_count; i++) {
        t->op = &b->op[i];
        t->index = i;
        TRY(translate_op(t, to));
    }
    return OK;
}

/* ---- before the walk: how many numbers there are, and what is not supported ---- */

struct survey {
    int64_t result_max, arg_max;
    int block;
    struct unknown_list *unknown;
};

static bool is_known_op(struct str name)
{
    return find_special(name) != NULL || str_is(name, "2.yield") ||
           pir_row_find(op_of_dialect(name)) != NULL;
}

static void survey_block(struct survey *s, const struct pir_block *b)
{
    int number = s->block++;
    for (int i = 0; i < b->arg_count; i++)
        if (-b->arg[i].id > s->arg_max)
            s->arg_max = -b->arg[i].id;
    for (int i = 0; i < b->op_count; i++) {
        const struct pir_op *op = &b->op[i];
        if (!is_known_op(op->name))
            unknown_note(s->unknown, op->name, number, i);
        for (int k = 0; k < op->out_count; k++)
            if (op->out[k].id > s->result_max)
                s->result_max = op->out[k].id;
        for (int k = 0; k < op->block_count; k++)
            survey_block(s, &op->block[k]);
    }
}

static status make_entries(struct translate *t, const struct survey *s)
{
    if (s->result_max > LIMIT_GRAPH_VALUES || s->arg_max > LIMIT_GRAPH_VALUES)
        return err_set(t->err, TOO_LARGE, "a value has the number %lld, at most %u are read",
                       (long long)(s->result_max > s->arg_max ? s->result_max : s->arg_max),
                       LIMIT_GRAPH_VALUES);
    t->result_max = s->result_max;
    t->arg_max = s->arg_max;
    t->result = arena_try_array(t->arena, (size_t)s->result_max + 1, sizeof(*t->result));
    t->arg = arena_try_array(t->arena, (size_t)s->arg_max + 1, sizeof(*t->arg));
    return t->result != NULL && t->arg != NULL ? OK : no_memory(t);
}

status pir_check(struct str bytes, struct arena *a, struct unknown_list *unknown, struct err *e)
{
    struct survey s = { .unknown = unknown };
    struct pir_file file;
    TRY(pir_parse(bytes, a, &file, e));
    survey_block(&s, &file.block);
    return OK;
}

status pir_decode(struct str bytes, struct arena *a, struct program *out, struct err *e)
{
    struct translate t = { .arena = a, .program = out, .err = e };
    struct unknown_list unknown;
    struct survey s = { .unknown = &unknown };
    struct pir_file file;
    *out = (struct program){ 0 };
    TRY(pir_parse(bytes, a, &file, e));
    unknown_init(&unknown, a);
    survey_block(&s, &file.block);
    TRY(unknown_tell(&unknown, e));
    TRY(make_entries(&t, &s));
    if (pir_push(a, &out->block, &out->block_count, sizeof(*out->block)) == NULL)
        return no_memory(&t);
    return translate_block(&t, &file.block, NULL);
}

/* JSON whose first object is "base_code", with the magic "pir". */
#define LOOK_BYTES 512

bool pir_is_program(const char *path)
{
    char head[LOOK_BYTES + 1];
    FILE *f = fopen(path, "rb");
    if (f == NULL)
        return false;
    head[fread(head, 1, LOOK_BYTES, f)] = '\0';
    fclose(f);
    return strstr(head, "\"base_code\"") != NULL && strstr(head, "\"pir\"") != NULL;
}
