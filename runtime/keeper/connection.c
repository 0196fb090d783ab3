// The control socket: requests of the daemon, events to it, and attached clients. The messages are in doc.go.
#define _GNU_SOURCE
#include "keeper.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

enum { FDS_MAX = 2 };

static char message[MESSAGE_MAX + 1];

static void send_fields(struct connection *n, unsigned long request, const char *verb, const char *const *f, int nf)
{
	static char out[2048];
	size_t len = snprintf(out, sizeof out, "%lu%c%s", request, 0, verb) + 1;
	for (int i = 0; i < nf; i++) {
		size_t l = strlen(f[i]) + 1;
		if (l > sizeof out - len)
			l = sizeof out - len;
		memcpy(out + len, f[i], l);
		len += l;
	}
	out[sizeof out - 1] = 0;
	// A daemon that reads nothing loses its connection, and asks for everything when it connects again.
	if (send(n->src.fd, out, len, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 && errno == EAGAIN)
		shutdown(n->src.fd, SHUT_RDWR);
}

void answer(struct connection *n, unsigned long request, const char *verb, const char *const *f, int nf)
{
	if (n)
		send_fields(n, request, verb, f, nf);
}

static void answer_error(struct connection *n, unsigned long request, const char *text)
{
	answer(n, request, "ERR", &text, 1);
}

void tell_watchers(const char *verb, const char *const *f, int nf)
{
	for (struct connection *n = keeper.connections; n; n = n->next)
		if (n->watching)
			send_fields(n, 0, verb, f, nf);
}

// tell_exit sends what is known of a container: to one connection, or to all that watch.
void tell_exit(struct connection *to, unsigned long request, const char *verb, const struct container *c)
{
	static const char *const states[] = {"starting", "running", "running", "exited"};
	char pid[16], code[16], sig[16], start[48], end[48];
	snprintf(pid, sizeof pid, "%d", (int)c->pid);
	snprintf(code, sizeof code, "%d", c->code);
	snprintf(sig, sizeof sig, "%d", c->sig);
	snprintf(start, sizeof start, "%lld.%09ld", (long long)c->started.tv_sec, c->started.tv_nsec);
	snprintf(end, sizeof end, "%lld.%09ld", (long long)c->finished.tv_sec, c->finished.tv_nsec);
	const char *f[] = {c->id, states[c->state], pid, code, sig, start, end};
	if (to)
		send_fields(to, request, verb, f, 7);
	else
		tell_watchers(verb, f, 7);
}

void tell_log_full(struct container *c)
{
	const char *id = c->id;
	for (struct connection *n = keeper.connections; n; n = n->next)
		if (n->watching)
			c->log_full_sent = 1;
	tell_watchers("LOGFULL", &id, 1);
}

// refresh_connection sets what is waited for: requests unless the container's stdin is full, room for an unsent frame.
void refresh_connection(struct connection *n)
{
	uint32_t e = 0;
	if (!n->attached || !n->attached->in_rest)
		e |= EPOLLIN;
	if (n->unsent)
		e |= EPOLLOUT;
	watch(&n->src, e);
}

static void unstick(struct connection *n)
{
	if (!n->unsent)
		return;
	free(n->unsent);
	n->unsent = NULL;
	keeper.stuck--;
	if (n->attached && --n->attached->stuck == 0)
		refresh_output(n->attached);
}

void drop_connection(struct connection *n)
{
	for (struct connection **p = &keeper.connections; *p; p = &(*p)->next)
		if (*p == n) {
			*p = n->next;
			break;
		}
	close_source(&n->src);
	for (struct container *c = keeper.containers; c; c = c->next)
		if (c->starter == n)
			c->starter = NULL;
	struct container *c = n->attached;
	if (c && n->attached_stdin && (c->flags & FLAG_STDIN_ONCE))
		close_stdin(c);
	unstick(n);
	free(n);
}

int drop_stuck_connections(time_t now)
{
	int dropped = 0;
	for (struct connection *n = keeper.connections, *next; n; n = next) {
		next = n->next;
		if (n->unsent && now - n->unsent_since > STUCK_SECONDS) {
			drop_connection(n);
			dropped++;
		}
	}
	return dropped;
}

// send_frame gives an attached client output. If it has no room the frame is kept, and the container's output waits for
// it, but not for long.
void send_frame(struct connection *n, char kind, const char *data, size_t len)
{
	struct iovec v[2] = {{&kind, 1}, {(char *)data, len}};
	struct msghdr m = {.msg_iov = v, .msg_iovlen = 2};
	if (n->unsent || sendmsg(n->src.fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0 || errno != EAGAIN)
		return;
	if (!(n->unsent = malloc(len + 1)))
		return;
	n->unsent[0] = kind;
	memcpy(n->unsent + 1, data, len);
	n->unsent_len = len + 1;
	n->unsent_since = time(NULL);
	keeper.stuck++;
	n->attached->stuck++;
	refresh_connection(n);
	refresh_output(n->attached);
}

static void send_unsent(struct connection *n)
{
	if (send(n->src.fd, n->unsent, n->unsent_len, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 && errno == EAGAIN)
		return;
	free(n->unsent);
	n->unsent = NULL;
	keeper.stuck--;
	n->attached->stuck--;
	if (n->ending)
		send_frame(n, 'x', NULL, 0);
	refresh_connection(n);
	if (n->attached->stuck == 0)
		refresh_output(n->attached); // may end the container, and this connection with it: last
}

// end_input: the client sends no more. StdinOnce ends the container's input with it, and the client waits for the
// container's end. Otherwise the input stays open for the next client and this one's attachment ends, as with other
// runtimes: kubectl run --leave-stdin-open returns then. So it is with a terminal, which has no end of input.
static void end_input(struct connection *n)
{
	struct container *c = n->attached;
	if ((c->flags & FLAG_STDIN_ONCE) && !(c->flags & FLAG_TTY))
		return close_stdin(c);
	if (n->unsent)
		n->ending = 1; // once the client has what it was sent
	else
		send_frame(n, 'x', NULL, 0);
}

// frame handles what an attached client sends: 'i' input, 'c' end of input, 'r' terminal size (two 16-bit numbers).
static void frame(struct connection *n, const char *data, size_t len)
{
	struct container *c = n->attached;
	if (c->state != RUNNING)
		return;
	if (data[0] == 'i' && n->attached_stdin)
		write_stdin(c, data + 1, len - 1);
	else if (data[0] == 'c' && n->attached_stdin)
		end_input(n);
	else if (data[0] == 'r' && len == 5 && (c->flags & FLAG_TTY) && c->out.src.fd >= 0) {
		const unsigned char *u = (const unsigned char *)data;
		struct winsize w = {.ws_col = u[1] | u[2] << 8, .ws_row = u[3] | u[4] << 8};
		ioctl(c->out.src.fd, TIOCSWINSZ, &w);
	}
}

static void on_kill(struct connection *n, unsigned long request, struct container *c, int sig)
{
	// A container's process is this keeper's child and is not reaped yet while RUNNING, so the pid is its own.
	pid_t pid = c->state == RUNNING ? c->pid : c->state == STARTING ? c->creator : 0;
	if (pid <= 0)
		return answer_error(n, request, "not running");
	if (c->state == STARTING)
		sig = SIGKILL;
	if (kill(pid, sig) < 0)
		return answer_error(n, request, strerror(errno));
	answer(n, request, "OK", NULL, 0);
}

static void on_attach(struct connection *n, unsigned long request, struct container *c, int with_stdin)
{
	if (c->state != RUNNING)
		return answer_error(n, request, "not running");
	answer(n, request, "OK", NULL, 0);
	n->attached = c;
	n->attached_stdin = with_stdin && (c->flags & FLAG_STDIN);
	n->watching = 0;
}

static void on_container_request(struct connection *n, unsigned long request, const char *verb, char **f, int nf)
{
	struct container *c = nf > 0 ? find_container(f[0]) : NULL;
	if (!c)
		return answer_error(n, request, "no such container");
	int arg = nf > 1 ? atoi(f[1]) : 0;
	if (!strcmp(verb, "KILL"))
		return on_kill(n, request, c, arg);
	if (!strcmp(verb, "ATTACH"))
		return on_attach(n, request, c, arg);
	if (!strcmp(verb, "REOPEN")) {
		if (c->state == EXITED)
			return answer_error(n, request, "not running");
		if (open_log(c) < 0)
			return answer_error(n, request, strerror(errno));
	} else if (!strcmp(verb, "FORGET")) {
		if (c->state != EXITED)
			return answer_error(n, request, "still running");
		char name[256];
		snprintf(name, sizeof name, "exit.%s", c->id);
		unlinkat(keeper.dir_fd, name, 0);
		free_container(c);
	} else
		return answer_error(n, request, "unknown request");
	answer(n, request, "OK", NULL, 0);
}

static void on_request(struct connection *n, char **f, int nf, const int *fds, int nfds)
{
	unsigned long request = strtoul(f[0], NULL, 10);
	const char *verb = nf > 1 ? f[1] : "";
	if (!strcmp(verb, "HELLO")) {
		char version[16], pid[16], pid1[16];
		snprintf(version, sizeof version, "%d", PROTOCOL);
		snprintf(pid, sizeof pid, "%d", (int)getpid());
		snprintf(pid1, sizeof pid1, "%d", (int)keeper.pid1);
		const char *out[] = {version, pid, pid1};
		answer(n, request, "OK", out, 3);
	} else if (!strcmp(verb, "WATCH")) { // all there is now, then events
		n->watching = 1;
		for (struct container *c = keeper.containers; c; c = c->next) {
			tell_exit(n, request, "ITEM", c);
			if (c->log_max && c->log_size >= c->log_max)
				tell_log_full(c);
		}
		answer(n, request, "OK", NULL, 0);
	} else if (!strcmp(verb, "START")) {
		const char *err = start_container(n, request, f + 2, nf - 2, nfds > 0 ? fds[0] : -1, nfds > 1 ? fds[1] : -1);
		if (err)
			answer_error(n, request, err);
	} else
		on_container_request(n, request, verb, f + 2, nf - 2);
}

static ssize_t receive(int fd, int *fds, int *nfds)
{
	union {
		char buf[CMSG_SPACE(sizeof(int) * FDS_MAX)];
		struct cmsghdr align;
	} control;
	struct iovec v = {message, MESSAGE_MAX};
	struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = control.buf, .msg_controllen = sizeof control.buf};
	ssize_t len = recvmsg(fd, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	if (len <= 0)
		return len;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		int n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (int i = 0; i < n && *nfds < FDS_MAX; i++)
			memcpy(&fds[(*nfds)++], CMSG_DATA(c) + i * sizeof(int), sizeof(int));
	}
	if (m.msg_flags & (MSG_TRUNC | MSG_CTRUNC))
		len = 0; // not ours: the connection is dropped
	return len;
}

static void on_message(void *owner, uint32_t events)
{
	struct connection *n = owner;
	if (n->unsent && (events & EPOLLOUT))
		return send_unsent(n);
	int fds[FDS_MAX], nfds = 0;
	ssize_t len = receive(n->src.fd, fds, &nfds);
	if (len < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (len > 0 && n->attached)
		frame(n, message, len);
	else if (len > 0) {
		char *f[FIELDS_MAX];
		int nf = 0;
		message[len] = 0;
		for (char *p = message; p < message + len && nf < FIELDS_MAX; p += strlen(p) + 1)
			f[nf++] = p;
		on_request(n, f, nf, fds, nfds);
	}
	while (nfds > 0)
		close(fds[--nfds]);
	if (len <= 0)
		drop_connection(n);
}

void accept_connections(void)
{
	int fd;
	while ((fd = accept4(keeper.listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
		struct connection *n = calloc(1, sizeof *n);
		if (!n) {
			close(fd);
			return;
		}
		n->src = (struct source){.fd = fd, .ready = on_message, .owner = n};
		n->next = keeper.connections;
		keeper.connections = n;
		watch(&n->src, EPOLLIN);
	}
}
