/* Options of verbs that talk to a server: TLS and a key. */
#pragma once

#include "options.h"

#include "client/remote.h"

// clang-format off
/* Option rows of a verb with a struct remote at `at`. */
#define REMOTE_OPTIONS(at)                                                                                                                                     \
    { "tls", OPT_FLAG, (at) + offsetof(struct remote, tls), NULL, NULL, "speak TLS to the server, which must show a certificate of a known authority", 0, 0, NULL }, \
    { "tls-ca", OPT_TEXT, (at) + offsetof(struct remote, files.ca), "FILE", NULL, "PEM: the authorities believed in place of the system's", 0, 0, "cacert" },       \
    { "tls-cert", OPT_TEXT, (at) + offsetof(struct remote, files.cert), "FILE", NULL, "PEM: the certificate to show", 0, 0, "cert" },                               \
    { "tls-key", OPT_TEXT, (at) + offsetof(struct remote, files.key), "FILE", NULL, "PEM: its private key, where --tls-cert does not hold it", 0, 0, "key" },       \
    { "insecure", OPT_FLAG, (at) + offsetof(struct remote, files.insecure), NULL, NULL, "speak TLS to whoever answers", 0, 0, NULL },                               \
    { "api-key", OPT_TEXT, (at) + offsetof(struct remote, api_key), "KEY|@FILE", NULL, "the key to send; of a file its first line", 0, 0, NULL }
// clang-format on
