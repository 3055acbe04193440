#include "proto/http1.h"

// clang-format off
static const bool token_char[256] = {
    ['0' ... '9'] = true, ['A' ... 'Z'] = true, ['a' ... 'z'] = true,
    ['!'] = true, ['#'] = true, ['$'] = true, ['%'] = true, ['&'] = true, ['\''] = true, ['*'] = true,
    ['+'] = true, ['-'] = true, ['.'] = true, ['^'] = true, ['_'] = true, ['`'] = true, ['|'] = true,
    ['~'] = true,
};
// clang-format on

static bool is_token(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (!token_char[(uint8_t)s.p[i]])
            return false;
    return s.n != 0;
}

/* What may stand in a value: all but the control characters, of which only the tab. */
static bool is_text_char(uint8_t c)
{
    return (c >= 0x20 && c != 0x7f) || c == '\t';
}

#define EACH(byte) ((uint64_t)0x0101010101010101 * (byte))

/* Steps over eight bytes at once as long as none of them can be a control character. */
static size_t plain_prefix(struct str s)
{
    size_t i = 0;
    for (uint64_t w; s.n - i >= sizeof(w); i += sizeof(w)) {
        memcpy(&w, s.p + i, sizeof(w));
        uint64_t del = w ^ EACH(0x7f), low = (w - EACH(0x20)) & ~w, is_del = (del - EACH(1)) & ~del;
        if (((low | is_del) & EACH(0x80)) != 0)
            break;
    }
    return i;
}

static bool is_text(struct str s)
{
    for (size_t i = plain_prefix(s); i < s.n; i++)
        if (!is_text_char((uint8_t)s.p[i]))
            return false;
    return true;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Lists in values */

/* "0.85" in thousandths; what is no such number counts as none at all. */
static int read_weight(struct str number)
{
    int weight = 0, unit = 1000;
    for (size_t i = 0; i < number.n && unit > 0; i++) {
        if (i == 1 && number.p[i] == '.')
            continue;
        if (!is_digit(number.p[i]) || (i == 0 && number.p[i] > '1'))
            return 1000;
        weight += (number.p[i] - '0') * unit;
        unit /= 10;
    }
    return weight < 1000 ? weight : 1000;
}

/* Of ";q=0.5" among an item's parameters. */
static int weight_of(struct str params)
{
    struct str one;
    while (params.n != 0) {
        str_cut(&params, ';', &one);
        one = str_trim(one);
        if (one.n >= 3 && (one.p[0] | 0x20) == 'q' && one.p[1] == '=')
            return read_weight((struct str){ one.p + 2, one.n - 2 });
    }
    return 1000;
}

int http_header_weight(struct str value, const char *token)
{
    while (value.n != 0) {
        struct str params, name;
        str_cut(&value, ',', &params);
        str_cut(&params, ';', &name);
        if (str_eq_nocase(str_trim(name), str_of(token)))
            return weight_of(params);
    }
    return -1;
}

bool http_header_lists(struct str value, const char *token)
{
    return http_header_weight(value, token) > 0;
}

struct str http_header_find(const struct http_head *h, const char *name)
{
    struct str wanted = str_of(name);
    if ((h->name_lengths >> (wanted.n % 64) & 1) == 0)
        return (struct str){ 0 };
    for (int i = 0; i < h->header_count; i++)
        if (str_eq_nocase(h->header[i].name, wanted))
            return h->header[i].value;
    return (struct str){ 0 };
}

/* Headers that say how the connection goes on. Each row says what is wrong with the message, or NULL. */

struct scan {
    struct http_head *h;
    bool host, says_close, says_keep_alive;
};

static const char *take_length(struct scan *s, struct str value)
{
    struct http_head *h = s->h;
    uint64_t n;
    if (!str_to_u64(value, &n))
        return "Content-Length is no whole number";
    if (h->has_length && h->content_length != n)
        return "two Content-Lengths differ";
    h->has_length = true;
    h->content_length = n;
    return NULL;
}

static const char *take_transfer(struct scan *s, struct str value)
{
    if (s->h->minor == 0)
        return "HTTP/1.0 has no Transfer-Encoding";
    if (s->h->chunked || !str_eq_nocase(value, STR("chunked")))
        return "the one Transfer-Encoding that is known is chunked";
    s->h->chunked = true;
    return NULL;
}

static const char *take_connection(struct scan *s, struct str value)
{
    s->says_close |= http_header_lists(value, "close");
    s->says_keep_alive |= http_header_lists(value, "keep-alive");
    return NULL;
}

static const char *take_expect(struct scan *s, struct str value)
{
    s->h->expect_continue = s->h->minor >= 1 && str_eq_nocase(value, STR("100-continue"));
    return NULL;
}

/* None is let through, since old tools send none; two are an attempt to be two hosts at once. */
static const char *take_host(struct scan *s, struct str value)
{
    const char *wrong = s->host ? "there are two Host headers" : NULL;
    s->host = true;
    return wrong;
}

// clang-format off
static const struct {
    struct str name;
    const char *(*take)(struct scan *s, struct str value);
} known_headers[] = {
    { { "content-length", 14 },    take_length },
    { { "transfer-encoding", 17 }, take_transfer },
    { { "connection", 10 },        take_connection },
    { { "expect", 6 },             take_expect },
    { { "host", 4 },               take_host },
};
// clang-format on

static const char *take_known(struct scan *s, const struct http_header *header)
{
    for (size_t i = 0; i < ARRAY_LEN(known_headers); i++)
        if (str_eq_nocase(header->name, known_headers[i].name))
            return known_headers[i].take(s, header->value);
    return NULL;
}

/* Heads */

/* Cuts the next line off; false when an LF stands without its CR. What remains of a bare CR is
 * refused by is_text. */
static bool next_line(struct str *lines, struct str *line)
{
    str_cut(lines, '\n', line);
    if (line->n == 0 || line->p[line->n - 1] != '\r')
        return false;
    line->n--;
    return true;
}

static const char *cut_header(struct str line, struct http_header *out)
{
    struct str value = line;
    if (!str_cut(&value, ':', &out->name))
        return "a header's line has no colon";
    if (!is_token(out->name)) /* "Name :", a line that goes on with spaces, an empty name */
        return "a header's name is none, or has a space or a sign in it that none may have";
    if (!is_text(value))
        return "a header's value has a control character";
    out->value = str_trim(value);
    return NULL;
}

static const char *const bare_line_feed = "a line ends without CR LF";

static status malformed(struct http_head *h, const char *wrong)
{
    h->fault = wrong;
    return INVALID;
}

static const char *read_header(struct scan *s, struct str *lines, struct http_header *out)
{
    struct str line;
    if (!next_line(lines, &line))
        return bare_line_feed;
    const char *wrong = cut_header(line, out);
    return wrong != NULL ? wrong : take_known(s, out);
}

static status read_headers(struct str lines, struct http_head *h)
{
    struct scan s = { .h = h };
    while (lines.n != 0) {
        struct http_header header;
        if (h->header_count == LIMIT_HTTP_HEADERS) {
            h->fault = "it has too many headers";
            return TOO_LARGE;
        }
        const char *wrong = read_header(&s, &lines, &header);
        if (wrong != NULL)
            return malformed(h, wrong);
        http_header_add(h, header);
    }
    h->keep_alive = !s.says_close && (h->minor >= 1 || s.says_keep_alive);
    return h->chunked && h->has_length
               ? malformed(h, "Content-Length and Transfer-Encoding stand together")
               : OK;
}

/* "HTTP/1.x"; every 1.x is spoken to as one of the two that exist. */
static bool read_version(struct str s, struct http_head *h)
{
    if (s.n != 8 || !str_starts(s, "HTTP/1.") || !is_digit(s.p[7]))
        return false;
    h->minor = s.p[7] - '0';
    return true;
}

static bool read_target(struct str target, struct http_head *h)
{
    for (size_t i = 0; i < target.n; i++)
        if ((uint8_t)target.p[i] <= ' ' || target.p[i] == 0x7f || target.p[i] == '#')
            return false;
    h->target = h->query = target;
    bool absolute =
        str_starts(target, "http://"); /* as to a proxy: the authority is stepped over */
    if (absolute) {
        size_t at = strlen("http://");
        while (at < target.n && target.p[at] != '/' && target.p[at] != '?')
            at++;
        h->query = (struct str){ target.p + at, target.n - at };
    }
    str_cut(&h->query, '?', &h->path);
    if (absolute && h->path.n == 0)
        h->path = STR("/");
    return str_starts(h->path, "/") || str_is(target, "*");
}

static const char *read_request_line(struct str line, struct http_head *h)
{
    struct str target;
    if (!str_cut(&line, ' ', &h->method) || !is_token(h->method) || !str_cut(&line, ' ', &target))
        return "its first line is not METHOD PATH HTTP/1.1";
    if (!read_target(target, h))
        return "the path does not begin with a slash, or has a control character or a # in it";
    return read_version(line, h) ? NULL : "its first line does not end in HTTP/1.0 or HTTP/1.1";
}

/* The words after the code, and the space before them, may lack. */
static const char *read_status_line(struct str line, struct http_head *h)
{
    static const char *const wrong = "its first line is not HTTP/1.1 CODE REASON";
    struct str version, code;
    if (!is_text(line) || !str_cut(&line, ' ', &version) || !read_version(version, h))
        return wrong;
    str_cut(&line, ' ', &code);
    if (code.n != 3 || !is_digit(code.p[0]) || !is_digit(code.p[1]) || !is_digit(code.p[2]))
        return wrong;
    h->code = (code.p[0] - '0') * 100 + (code.p[1] - '0') * 10 + (code.p[2] - '0');
    return h->code >= 100 ? NULL : wrong;
}

/* All but the headers: zeroing those 4 KiB would cost more than reading an ordinary head. */
static void clear_head(struct http_head *h)
{
    h->method = h->target = h->path = h->query = (struct str){ 0 };
    h->minor = h->code = h->header_count = 0;
    h->keep_alive = h->chunked = h->expect_continue = h->has_length = false;
    h->content_length = h->name_lengths = 0;
    h->fault = NULL;
}

/* The empty line's CRLF behind the last header's, or NULL. Line feeds are few: looking at each is quicker than memmem. Two in a row
 * are an end as well, of a head that is then found malformed: who ends lines so would wait in vain. */
static const char *end_of_head(const char *p, size_t n, size_t from)
{
    const char *at = p + from, *last = p + n;
    while (at < last && (at = memchr(at, '\n', (size_t)(last - at))) != NULL) {
        if (last - at >= 2 && at[1] == '\n')
            return at;
        if (last - at >= 3 && at[1] == '\r' && at[2] == '\n' && at > p && at[-1] == '\r')
            return at - 1;
        at++;
    }
    return NULL;
}

static struct parse cut_head(struct str bytes, size_t seen, struct http_head *out,
                             const char *(*first_line)(struct str, struct http_head *))
{
    size_t n = bytes.n < LIMIT_HTTP_HEADER_BYTES ? bytes.n : LIMIT_HTTP_HEADER_BYTES;
    out->fault = NULL;
    const char *end = end_of_head(bytes.p, n, seen < 3 ? 0 : seen - 3);
    if (end == NULL)
        return bytes.n < LIMIT_HTTP_HEADER_BYTES ? parse_more() : parse_bad(TOO_LARGE);
    struct str lines = { bytes.p, (size_t)(end + 2 - bytes.p) }, line;
    clear_head(out);
    out->fault = next_line(&lines, &line) ? first_line(line, out) : bare_line_feed;
    if (out->fault != NULL)
        return parse_bad(INVALID);
    status s = read_headers(lines, out);
    return s == OK ? parse_done((size_t)(end + 4 - bytes.p)) : parse_bad(s);
}

struct parse http1_request(struct str bytes, size_t seen, struct http_head *out)
{
    /* Old clients end a body with a CRLF that they do not count. */
    size_t skip = bytes.n >= 2 && memcmp(bytes.p, "\r\n", 2) == 0 ? 2 : 0;
    struct str head = { bytes.p + skip, bytes.n - skip };
    bool half_skipped = bytes.n == 1 && bytes.p[0] == '\r';
    if (head.n != 0 && !token_char[(uint8_t)head.p[0]] && !half_skipped) {
        out->fault = "it does not begin with a method";
        return parse_bad(INVALID);
    }
    struct parse got = cut_head(head, seen < skip ? 0 : seen - skip, out, read_request_line);
    if (got.state == PARSE_DONE)
        got.used += skip;
    return got;
}

struct parse http1_response(struct str bytes, size_t seen, struct http_head *out)
{
    static const char begin[] = "HTTP/1.";
    size_t n = bytes.n < sizeof(begin) - 1 ? bytes.n : sizeof(begin) - 1;
    if (n != 0 && memcmp(bytes.p, begin, n) != 0) {
        out->fault = "it does not begin with HTTP/1";
        return parse_bad(INVALID);
    }
    return cut_head(bytes, seen, out, read_status_line);
}

/* Chunked bodies. The states are the places in
 *
 *     1a;name=value CR LF  content CR LF  ...  0 CR LF  Trailer: x CR LF  CR LF
 */

/* A size line with its extensions; or the last one with all trailers. */
#define LINE_MAX_BYTES 8192

enum chunk_state {
    SIZE_FIRST, /* at least one digit must come */
    SIZE,
    EXTENSION,
    SIZE_LF,
    CONTENT,
    CONTENT_CR,
    CONTENT_LF,
    TRAILER_FIRST, /* of a line: an empty line ends it all */
    TRAILER,
    TRAILER_LF,
    LAST_LF,
    WHOLE,
    DAMAGED,
};

static int hex_digit(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static int after_size(struct http_chunked *c, uint8_t byte)
{
    int digit = hex_digit(byte);
    if (digit >= 0 && c->left <= UINT64_MAX >> 4) {
        c->left = c->left << 4 | (uint64_t)digit;
        return SIZE;
    }
    if (digit >= 0 || c->state == SIZE_FIRST)
        return DAMAGED;
    return byte == ';' ? EXTENSION : byte == '\r' ? SIZE_LF : DAMAGED;
}

static int after_text(uint8_t byte, int text, int end)
{
    return is_text_char(byte) ? text : byte == '\r' ? end : DAMAGED;
}

/* One byte of what is around the content. */
static int step(struct http_chunked *c, uint8_t byte)
{
    switch ((enum chunk_state)c->state) {
    case SIZE_FIRST:
    case SIZE: return after_size(c, byte);
    case EXTENSION: return after_text(byte, EXTENSION, SIZE_LF);
    case SIZE_LF: return byte != '\n' ? DAMAGED : c->left != 0 ? CONTENT : TRAILER_FIRST;
    case CONTENT_CR: return byte == '\r' ? CONTENT_LF : DAMAGED;
    case CONTENT_LF: return byte == '\n' ? SIZE_FIRST : DAMAGED;
    case TRAILER_FIRST: return byte == '\r' ? LAST_LF : after_text(byte, TRAILER, DAMAGED);
    case TRAILER: return after_text(byte, TRAILER, TRAILER_LF);
    case TRAILER_LF: return byte == '\n' ? TRAILER_FIRST : DAMAGED;
    case LAST_LF: return byte == '\n' ? WHOLE : DAMAGED;
    case CONTENT:
    case WHOLE:
    case DAMAGED: break;
    }
    return DAMAGED;
}

/* Takes as much content as there is; the count. */
static size_t take_content(struct http_chunked *c, struct str bytes, struct buf *body)
{
    size_t n = c->left < bytes.n ? (size_t)c->left : bytes.n;
    buf_append(body, bytes.p, n);
    c->left -= n;
    if (c->left == 0)
        c->state = CONTENT_CR;
    return n;
}

/* A line's length is bounded, and that of all trailers together; a chunk too large for the body is
 * refused at its size line, before its bytes come. */
static status check_step(struct http_chunked *c, const struct buf *body)
{
    if (c->state == DAMAGED)
        return INVALID;
    if (c->state == SIZE_FIRST)
        c->line_bytes = 0;
    else if (++c->line_bytes > LINE_MAX_BYTES)
        return TOO_LARGE;
    return c->state == CONTENT && c->left > body->max - body->len ? TOO_LARGE : OK;
}

struct parse http1_chunked(struct http_chunked *c, struct str bytes, struct buf *body)
{
    for (size_t i = 0; i < bytes.n;) {
        if (c->state == CONTENT) {
            i += take_content(c, (struct str){ bytes.p + i, bytes.n - i }, body);
            if (buf_check(body) != OK)
                return parse_bad(buf_check(body));
            continue;
        }
        c->state = step(c, (uint8_t)bytes.p[i++]);
        status s = check_step(c, body);
        if (s != OK) {
            c->state = DAMAGED;
            return parse_bad(s);
        }
        if (c->state == WHOLE) {
            *c = (struct http_chunked){ 0 };
            return parse_done(i);
        }
    }
    return (struct parse){ .state = PARSE_MORE, .used = bytes.n };
}

/* Replies */

static const struct {
    int code;
    const char *reason;
} reasons[] = {
    { 200, "OK" },
    { 100, "Continue" },
    { 101, "Switching Protocols" },
    { 201, "Created" },
    { 202, "Accepted" },
    { 204, "No Content" },
    { 301, "Moved Permanently" },
    { 302, "Found" },
    { 304, "Not Modified" },
    { 400, "Bad Request" },
    { 401, "Unauthorized" },
    { 403, "Forbidden" },
    { 404, "Not Found" },
    { 405, "Method Not Allowed" },
    { 406, "Not Acceptable" },
    { 408, "Request Timeout" },
    { 409, "Conflict" },
    { 411, "Length Required" },
    { 413, "Content Too Large" },
    { 414, "URI Too Long" },
    { 415, "Unsupported Media Type" },
    { 417, "Expectation Failed" },
    { 422, "Unprocessable Content" },
    { 429, "Too Many Requests" },
    { 431, "Request Header Fields Too Large" },
    { 499, "Client Closed Request" },
    { 500, "Internal Server Error" },
    { 501, "Not Implemented" },
    { 502, "Bad Gateway" },
    { 503, "Service Unavailable" },
    { 504, "Gateway Timeout" },
    { 505, "HTTP Version Not Supported" },
};

const char *http_reason(int code)
{
    for (size_t i = 0; i < ARRAY_LEN(reasons); i++)
        if (reasons[i].code == code)
            return reasons[i].reason;
    return "Unknown";
}

/* printf would be a good part of a quick request's time. */
static void put_number(struct buf *out, size_t n)
{
    char digits[20];
    size_t at = sizeof(digits);
    do
        digits[--at] = (char)('0' + n % 10);
    while ((n /= 10) != 0);
    buf_append(out, digits + at, sizeof(digits) - at);
}

static void put_line(struct buf *out, const char *name, const char *value)
{
    buf_str(out, name);
    buf_str(out, value);
    buf_append(out, "\r\n", 2);
}

void http1_put_chunk(struct buf *out, struct str bytes)
{
    buf_printf(out, "%zx\r\n", bytes.n);
    buf_append(out, bytes.p, bytes.n);
    buf_append(out, "\r\n", 2);
}

void http1_put_reply_head(struct buf *out, const struct http_reply *r)
{
    buf_str(out, "HTTP/1.1 ");
    put_number(out, (size_t)r->code);
    put_line(out, " ", http_reason(r->code));
    if (r->content_type != NULL)
        put_line(out, "Content-Type: ", r->content_type);
    if (r->encoding != NULL)
        put_line(out, "Content-Encoding: ", r->encoding);
    if (r->chunked) {
        buf_str(out, "Transfer-Encoding: chunked\r\n");
    } else if (r->code >= 200 &&
               r->code != 204) { /* those have no body, and must not say that it is empty */
        buf_str(out, "Content-Length: ");
        put_number(out, r->body_bytes);
        buf_append(out, "\r\n", 2);
    }
    if (r->http10 && r->keep_alive)
        put_line(out, "Connection: ", "keep-alive");
    else if (!r->http10 && !r->keep_alive)
        put_line(out, "Connection: ", "close");
    if (r->extra != NULL)
        buf_str(out, r->extra);
    buf_append(out, "\r\n", 2);
}
