/* What main.c's table points to: one function a verb, each in the file of its name. argv is what
 * follows the verb; the result is the exit status (options.h). */
#pragma once

int verb_serve(int argc, char **argv);
int verb_run(int argc, char **argv);
int verb_call(int argc, char **argv);
int verb_bench(int argc, char **argv);
int verb_convert(int argc, char **argv);
int verb_inspect(int argc, char **argv);
int verb_trace(int argc, char **argv);
int verb_monitor(int argc, char **argv);
int verb_replay(int argc, char **argv);
int verb_ab(int argc, char **argv);
int verb_op_host(int argc, char **argv);
int verb_models(int argc, char **argv);
int verb_version(int argc, char **argv);
/* Without a verb: the command line of Paddle Serving's launcher (launcher.c). argv begins with its first flag. */
int verb_launcher(int argc, char **argv);
