/* The other end of a confined operator: what the process that holds its library does. */
#pragma once

/* Serves requests on the socket until it closes. settings: "NAME=VALUE". The exit status. */
int confined_serve(int fd, const char *library, const char *const *setting, int count);
