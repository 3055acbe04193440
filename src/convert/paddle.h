/* Private to the room: a Paddle model to be written anew, whose program is protobuf (ProgramDesc) or JSON (PIR). Which weights
 * and activations are converted is decided on the program as the importer decodes it, the same for both; the writers differ. */
#pragma once

#include "base/file.h"
#include "convert/recipe.h"
#include "import/paddle/files.h"
#include "import/paddle/params.h"
#include "import/paddle/program.h"

struct paddle {
    struct arena *arena;
    struct paddle_files files;
    struct file_map *map;
    struct str bytes; /* the program's file */
    struct program program;
    struct params params;
    bool pir;
};

/* What block 0 declares by this name; NULL: nothing. */
const struct var_desc *paddle_var(const struct paddle *p, struct str name);

/* A parameter to be stored. */
struct stored {
    const char *name;
    struct tensor tensor;
};

struct paddle_writer {
    const struct paddle *paddle;
    const struct recipe *recipe;
    precision precision;
    struct arena *arena;
    struct stored *param;
    int param_count, param_cap;
};

void paddle_store(struct paddle_writer *w, const char *name, const struct tensor *t);
/* What was stored, and all parameters that the recipe leaves alone, into one file. */
status paddle_write_params(struct paddle_writer *w, const char *path, uint64_t *bytes,
                           struct err *e);

/* The weight under this name: as int8, with *q the rest; as halves. */
void paddle_store_int8(struct paddle_writer *w, const char *name, const struct weight *v,
                       struct quantised *q);
void paddle_store_half(struct paddle_writer *w, const char *name, const struct weight *v);

/* The program with what the recipe changes; the words that it is known by, and its file's name. */
struct paddle_form {
    const char *name, *file;
    status (*write)(struct paddle_writer *w, struct buf *out, struct err *e);
};
extern const struct paddle_form paddle_form_program, paddle_form_pir;

/* "name" and more behind it, in the arena. */
const char *paddle_text(struct paddle_writer *w, struct str name, const char *more);
