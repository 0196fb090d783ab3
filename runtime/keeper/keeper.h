// What the keeper's files share. See doc.go for the protocol and for what the keeper may and may not do.
#ifndef SKIFF_KEEPER_H
#define SKIFF_KEEPER_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

enum {
	PROTOCOL = 1,           // answered to HELLO; a daemon of another version may meet this keeper
	READ_MAX = 32 * 1024,   // one read of a container's output, and one frame to an attached client
	LINE_LIMIT = 16 * 1024, // longer lines are logged in parts tagged P, as the CRI log format wants
	MESSAGE_MAX = 32 * 1024 + 64,
	FIELDS_MAX = 16,
	EARLY_MAX = 16,
	DRAIN_MAX = 1024 * 1024, // of a stream that some process still writes to after its container's end
	STUCK_SECONDS = 5,       // an attached client that takes nothing for so long is dropped
};

// Flags of START.
enum { FLAG_TTY = 1, FLAG_STDIN = 2, FLAG_STDIN_ONCE = 4, FLAG_KILL_REST = 8 };

// One file descriptor in the event loop.
struct source {
	int fd;
	uint32_t events; // registered now; 0: not in the epoll set
	void (*ready)(void *owner, uint32_t events);
	void *owner;
};

struct container;

// One output stream of a container.
struct stream {
	struct source src;
	struct container *c;
	const char *name; // "stdout" or "stderr"
	char kind;        // of the frames to attached clients: 'o' or 'e'
	char *part;       // the beginning of a line, LINE_LIMIT bytes when not NULL
	size_t part_len;
	size_t drained; // bytes read after the container's end
};

enum state { STARTING, RUNNING, DRAINING, EXITED };

struct container {
	struct container *next;
	char id[200];
	enum state state;
	int flags;
	pid_t pid, creator;
	struct connection *starter; // who waits for the answer to START; NULL when gone
	unsigned long start_request;
	int result_fd, console_fd;
	struct stream out, err; // with FLAG_TTY out is the pty master and err is not used
	struct source in;       // container's stdin; with FLAG_TTY in.fd is -1 and out.src.fd is written
	char *in_rest;          // input that did not fit
	size_t in_rest_len;
	int in_ended; // stdin is closed once in_rest is written
	char *log_path, *kill_dir;
	int log_fd;
	uint64_t log_size, log_max;
	int log_full_sent;
	uint64_t dropped; // log lines not written, to be told when writing works again
	int drop_errno;
	int stuck; // attached clients with an unsent frame: output waits for them
	int code, sig;
	struct timespec started, finished;
	struct {
		pid_t pid;
		int status;
		struct timespec at;
	} early[EARLY_MAX]; // children that ended before the creator said which one is ours
	int early_n;
};

struct connection {
	struct connection *next;
	struct source src;
	int watching;
	struct container *attached;
	int attached_stdin;
	char *unsent; // a frame the client had no room for
	size_t unsent_len;
	time_t unsent_since;
	int ending; // 'x' follows the unsent frame
};

struct keeper {
	int epoll_fd, dir_fd, listen_fd, signal_fd, null_fd;
	pid_t pid1; // of the shared PID namespace, or 0
	int leaving;
	struct container *containers;
	struct connection *connections;
	int stuck;
};

extern struct keeper keeper;

// main.c
void watch(struct source *s, uint32_t events);
void close_source(struct source *s);
void leave_if_done(void);

// sandbox.c
const char *sandbox_setup(char *config, size_t len);

// connection.c
void accept_connections(void);
void drop_connection(struct connection *n);
int drop_stuck_connections(time_t now);
void answer(struct connection *n, unsigned long request, const char *verb, const char *const *fields, int nfields);
void tell_watchers(const char *verb, const char *const *fields, int nfields);
void tell_exit(struct connection *to, unsigned long request, const char *verb, const struct container *c);
void tell_log_full(struct container *c);
void send_frame(struct connection *n, char kind, const char *data, size_t len);
void refresh_connection(struct connection *n);

// container.c
struct container *find_container(const char *id);
const char *start_container(struct connection *n, unsigned long request, char **f, int nf, int exe_fd, int config_fd);
void free_container(struct container *c);
void reap_children(void);
void finish_container(struct container *c);
void write_stdin(struct container *c, const char *data, size_t len);
void close_stdin(struct container *c);
void refresh_output(struct container *c);

// creator.c
pid_t spawn_creator(struct container *c, int exe_fd, int config_fd, int result_fd, const int stdio[3]);
int receive_pty(int socket_fd);

// cgroup.c
int join_cgroup(const char *dir);
void kill_cgroup(const char *dir);

// log.c
int open_log(struct container *c);
void log_output(struct stream *s, const char *data, size_t len);
void log_rest(struct stream *s);
void log_end(struct container *c);

#endif
