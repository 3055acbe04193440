/* Reading the attributes that Paddle's operators on images share. */
#pragma once

#include "graph/attrs_image.h"
#include "import/paddle/site.h"

/* Whether the layout attribute (by this name) says that channels come last; a fault for any other layout than NC... */
status image_layout(struct site *s, const char *attr, bool *channel_last);

/* A list of `axes` numbers; one number stands for all, none for `otherwise`. */
status image_list(struct site *s, const char *name, int axes, int64_t otherwise,
                  struct attr_ints *out);
/* paddings of `axes` axes (one for each, or before and behind each in turn) as all before, then all behind; and
 * padding_algorithm, which overrules them. */
status image_pads(struct site *s, int axes, struct attr_ints *out, int32_t *auto_pad);

/* UNSUPPORTED for a mean over pads where those before and behind an axis may differ: Paddle then counts other ones. */
status image_pads_agree(struct site *s, int32_t pool_mode, int32_t auto_pad,
                        const struct attr_ints *pads);

/* x with its channels moved from the last dimension to the second, and back; x itself where `last` is false. */
status image_channels_first(struct site *s, struct value *x, bool last, struct value **out);
status image_channels_last(struct site *s, struct value *x, bool last, struct value **out);

/* v [C] as [C, 1, 1, ...] for x of `rank` dimensions, so that it broadcasts over channels. */
status image_per_channel(struct site *s, struct value *v, int rank, bool channel_last,
                         struct value **out);
