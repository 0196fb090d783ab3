// A container's life in the keeper: starting ──creator ended──▶ running ──its process ended──▶ draining ──▶ exited.
#define _GNU_SOURCE
#include "keeper.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

struct container *find_container(const char *id)
{
	for (struct container *c = keeper.containers; c; c = c->next)
		if (!strcmp(c->id, id))
			return c;
	return NULL;
}

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

// close_streams lets go of all that a container holds while it runs.
static void close_streams(struct container *c)
{
	close_source(&c->out.src);
	close_source(&c->err.src);
	close_source(&c->in);
	free(c->in_rest);
	c->in_rest = NULL;
	free(c->out.part);
	free(c->err.part);
	c->out.part = c->err.part = NULL;
	c->out.part_len = c->err.part_len = 0;
	close_fd(&c->log_fd);
	close_fd(&c->result_fd);
	close_fd(&c->console_fd);
}

void free_container(struct container *c)
{
	for (struct container **p = &keeper.containers; *p; p = &(*p)->next)
		if (*p == c) {
			*p = c->next;
			break;
		}
	for (struct connection *n = keeper.connections; n; n = n->next)
		if (n->attached == c)
			n->attached = NULL;
	close_streams(c);
	free(c->log_path);
	free(c->kill_dir);
	free(c);
}

// read_output reads once and passes it on. It returns what read did.
static ssize_t read_output(struct stream *s)
{
	static char buf[READ_MAX];
	ssize_t n;
	do
		n = read(s->src.fd, buf, sizeof buf);
	while (n < 0 && errno == EINTR);
	if (n <= 0)
		return n < 0 && errno == EAGAIN ? -1 : 0; // a pty without a slave says EIO
	log_output(s, buf, n);
	for (struct connection *a = keeper.connections; a; a = a->next)
		if (a->attached == s->c)
			send_frame(a, s->kind, buf, n);
	return n;
}

static void end_stream(struct stream *s)
{
	log_rest(s);
	close_source(&s->src);
}

static void on_output(void *owner, uint32_t events)
{
	struct stream *s = owner;
	if (read_output(s) == 0)
		end_stream(s); // the container may live on without it
}

static int retry_stdin(struct container *c)
{
	int fd = (c->flags & FLAG_TTY) ? c->out.src.fd : c->in.fd;
	while (c->in_rest_len) {
		ssize_t n = fd < 0 ? -1 : write(fd, c->in_rest, c->in_rest_len);
		if (n < 0 && fd >= 0 && (errno == EAGAIN || errno == EINTR))
			return 0;
		if (n < 0)
			break; // nobody reads it any more
		c->in_rest_len -= n;
		memmove(c->in_rest, c->in_rest + n, c->in_rest_len);
	}
	free(c->in_rest);
	c->in_rest = NULL;
	c->in_rest_len = 0;
	if (c->in_ended)
		close_source(&c->in);
	for (struct connection *a = keeper.connections; a; a = a->next)
		if (a->attached == c)
			refresh_connection(a);
	refresh_output(c);
	return 1;
}

static void on_stdin(void *owner, uint32_t events)
{
	struct container *c = owner;
	if (!c->in_rest && (events & (EPOLLERR | EPOLLHUP)))
		close_source(&c->in);
	else
		retry_stdin(c);
}

static void on_pty(void *owner, uint32_t events)
{
	struct stream *s = owner;
	if ((events & EPOLLOUT) && s->c->in_rest)
		retry_stdin(s->c);
	else
		on_output(owner, events);
}

// refresh_output sets what is waited for on the container's streams: nothing while an attached client is stuck.
void refresh_output(struct container *c)
{
	uint32_t e = c->stuck || c->state != RUNNING ? 0 : EPOLLIN;
	uint32_t in = c->in_rest && c->state == RUNNING ? EPOLLOUT : 0;
	watch(&c->out.src, c->flags & FLAG_TTY ? e | in : e);
	watch(&c->err.src, e);
	watch(&c->in, in);
	if (!c->stuck && c->state == DRAINING)
		finish_container(c);
}

// write_stdin gives the container input; what does not fit is kept, and its clients are not read until it is gone.
void write_stdin(struct container *c, const char *data, size_t len)
{
	if (c->in_rest || (!(c->flags & FLAG_TTY) && c->in.fd < 0) || !len)
		return;
	if (!(c->in_rest = malloc(len)))
		return;
	memcpy(c->in_rest, data, len);
	c->in_rest_len = len;
	if (retry_stdin(c))
		return;
	for (struct connection *a = keeper.connections; a; a = a->next)
		if (a->attached == c)
			refresh_connection(a);
	refresh_output(c);
}

void close_stdin(struct container *c)
{
	if (c->in_rest)
		c->in_ended = 1;
	else
		close_source(&c->in);
}

// stdio makes the container's streams; ours stay in c, the container's go to theirs.
static int make_stdio(struct container *c, int theirs[3])
{
	int p[2];
	if (c->flags & FLAG_TTY) {
		if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, p) < 0)
			return -1;
		c->console_fd = p[0];
		theirs[0] = p[1];
		return 0;
	}
	struct stream *s[] = {&c->out, &c->err};
	for (int i = 0; i < 2; i++) {
		if (pipe2(p, O_CLOEXEC) < 0)
			return -1;
		s[i]->src.fd = p[0];
		theirs[i + 1] = p[1];
		fcntl(p[0], F_SETFL, O_NONBLOCK);
	}
	if (!(c->flags & FLAG_STDIN))
		return 0;
	if (pipe2(p, O_CLOEXEC) < 0)
		return -1;
	c->in.fd = p[1];
	theirs[0] = p[0];
	fcntl(p[1], F_SETFL, O_WRONLY | O_NONBLOCK);
	return 0;
}

static struct container *new_container(char **f)
{
	struct container *c = calloc(1, sizeof *c);
	if (!c)
		return NULL;
	snprintf(c->id, sizeof c->id, "%s", f[0]);
	c->flags = atoi(f[1]);
	c->log_path = *f[2] ? strdup(f[2]) : NULL;
	c->log_max = strtoull(f[3], NULL, 10);
	c->kill_dir = strdup(f[4]);
	c->result_fd = c->console_fd = c->log_fd = -1;
	void (*ready)(void *, uint32_t) = c->flags & FLAG_TTY ? on_pty : on_output;
	c->out = (struct stream){.src = {.fd = -1, .ready = ready, .owner = &c->out}, .c = c, .name = "stdout", .kind = 'o'};
	c->err = (struct stream){.src = {.fd = -1, .ready = on_output, .owner = &c->err}, .c = c, .name = "stderr", .kind = 'e'};
	c->in = (struct source){.fd = -1, .ready = on_stdin, .owner = c};
	c->next = keeper.containers;
	keeper.containers = c;
	return c;
}

// start_container begins a start; the answer is sent when the creator has ended. Fields: id, flags, log path, log size
// to tell about, cgroup to kill at the end.
const char *start_container(struct connection *n, unsigned long request, char **f, int nf, int exe_fd, int config_fd)
{
	static char text[256];
	if (nf < 5 || exe_fd < 0 || config_fd < 0 || !*f[0] || strchr(f[0], '/') || strlen(f[0]) >= sizeof n->attached->id)
		return "bad request";
	if (find_container(f[0]))
		return "container exists";
	struct container *c = new_container(f);
	if (!c)
		return "out of memory";
	int theirs[3] = {-1, -1, -1}, result[2] = {-1, -1};
	const char *err = NULL;
	if (open_log(c) < 0) {
		snprintf(text, sizeof text, "open log file %.150s: %s", c->log_path, strerror(errno));
		err = text;
	} else if (make_stdio(c, theirs) < 0 || pipe2(result, O_CLOEXEC) < 0) {
		snprintf(text, sizeof text, "make pipes: %s", strerror(errno));
		err = text;
	} else if ((c->creator = spawn_creator(c, exe_fd, config_fd, result[1], theirs)) < 0) {
		snprintf(text, sizeof text, "fork: %s", strerror(errno));
		err = text;
	}
	for (int i = 0; i < 3; i++)
		close_fd(&theirs[i]);
	close_fd(&result[1]);
	c->result_fd = result[0];
	if (err) {
		free_container(c);
		return err;
	}
	c->starter = n;
	c->start_request = request;
	return NULL;
}

static void write_exit_file(struct container *c)
{
	char name[256], tmp[260], text[128];
	snprintf(name, sizeof name, "exit.%s", c->id);
	snprintf(tmp, sizeof tmp, ".%s", name);
	int n = snprintf(text, sizeof text, "%d %d %lld.%09ld\n", c->code, c->sig, (long long)c->finished.tv_sec, c->finished.tv_nsec);
	int fd = openat(keeper.dir_fd, tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0)
		return;
	if (write(fd, text, n) == n)
		renameat(keeper.dir_fd, tmp, keeper.dir_fd, name);
	close(fd);
}

// finish_container reads what the container left in its pipes and tells the world. It may be called again: while it waits
// for a slow client it returns.
void finish_container(struct container *c)
{
	struct stream *all[] = {&c->out, &c->err};
	for (int i = 0; i < 2; i++) {
		struct stream *s = all[i];
		while (s->src.fd >= 0) {
			ssize_t n = read_output(s);
			if (n <= 0 || (s->drained += n) > DRAIN_MAX)
				end_stream(s); // empty, ended, or some process that outlived the container writes for ever
			if (c->stuck)
				return;
		}
	}
	log_end(c);
	c->state = EXITED;
	write_exit_file(c);
	close_streams(c);
	for (struct connection *a = keeper.connections, *next; a; a = next) {
		next = a->next;
		if (a->attached != c)
			continue;
		send_frame(a, 'x', NULL, 0);
		drop_connection(a);
	}
	tell_exit(NULL, 0, "EXIT", c);
	leave_if_done();
}

static void on_exit_status(struct container *c, int status, struct timespec at)
{
	c->finished = at;
	c->sig = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
	c->code = c->sig ? 128 + c->sig : WEXITSTATUS(status);
	if (c->flags & FLAG_KILL_REST)
		kill_cgroup(c->kill_dir);
	c->state = DRAINING;
	refresh_output(c);
}

// on_creator_end reads the creator's verdict: "OK <pid> <seconds>.<nanoseconds of the start>" or why not.
static void on_creator_end(struct container *c)
{
	char text[1800];
	int n = read(c->result_fd, text, sizeof text - 1);
	text[n > 0 ? n : 0] = 0;
	close_fd(&c->result_fd);
	c->creator = 0;
	if (strncmp(text, "OK ", 3) != 0) {
		const char *why = *text ? text : "the creator ended without a word";
		const char *f[] = {c->id, why};
		answer(c->starter, c->start_request, "ERR", &why, 1);
		if (!c->starter)
			tell_watchers("FAIL", f, 2);
		free_container(c);
		leave_if_done();
		return;
	}
	int pid = 0;
	long long sec;
	if (sscanf(text + 3, "%d %lld.%ld", &pid, &sec, &c->started.tv_nsec) == 3)
		c->started.tv_sec = sec;
	c->pid = pid;
	c->state = RUNNING;
	if (c->flags & FLAG_TTY) {
		c->out.src.fd = receive_pty(c->console_fd);
		close_fd(&c->console_fd);
	}
	// Without a starter (the daemon was restarted meanwhile) all who watch are told.
	tell_exit(c->starter, c->start_request, c->starter ? "OK" : "RUN", c);
	c->starter = NULL;
	for (int i = 0; i < c->early_n && i < EARLY_MAX; i++)
		if (c->early[i].pid == c->pid)
			return on_exit_status(c, c->early[i].status, c->early[i].at);
	refresh_output(c);
}

static void on_child(pid_t pid, int status)
{
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	if (pid == keeper.pid1) {
		keeper.pid1 = 0;
		keeper.leaving = 1; // no container of the sandbox can live or start without it
		return;
	}
	for (struct container *c = keeper.containers; c; c = c->next) {
		if (c->creator == pid)
			return on_creator_end(c);
		if (c->state == RUNNING && c->pid == pid)
			return on_exit_status(c, status, now);
	}
	// An orphan, or a container's process whose creator has not been reaped yet.
	for (struct container *c = keeper.containers; c; c = c->next) {
		if (c->state != STARTING)
			continue;
		int i = c->early_n++ % EARLY_MAX;
		c->early[i].pid = pid;
		c->early[i].status = status;
		c->early[i].at = now;
	}
}

void reap_children(void)
{
	pid_t pid;
	int status;
	while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
		on_child(pid, status);
}
