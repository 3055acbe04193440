/* PROXY protocol, version 2 (haproxy's doc/proxy-protocol.txt): what a proxy in front says of the peer it speaks for. */
#pragma once

#include "base/parse.h"
#include "base/str.h"

#include <stdbool.h>
#include <sys/socket.h>

/* Cuts the header. *told: it names a peer, which is then in *peer; else the proxy speaks for itself. BAD INVALID. */
struct parse proxy_parse(struct str bytes, struct sockaddr_storage *peer, bool *told);
