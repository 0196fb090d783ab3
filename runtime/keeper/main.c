// The keeper's entry and its event loop. It takes over before the Go runtime starts, so a keeper is a small C process.
#include "keeper.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <fcntl.h>

struct keeper keeper;

// watch registers the source for these events, or changes them; 0 takes it out of the set (epoll would go on
// reporting EPOLLHUP otherwise, and the loop would spin).
void watch(struct source *s, uint32_t events)
{
	if (s->fd < 0 || s->events == events)
		return;
	struct epoll_event e = {.events = events, .data.ptr = s};
	int op = !events ? EPOLL_CTL_DEL : s->events ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
	epoll_ctl(keeper.epoll_fd, op, s->fd, &e);
	s->events = events;
}

void close_source(struct source *s)
{
	if (s->fd < 0)
		return;
	watch(s, 0);
	close(s->fd);
	s->fd = -1;
}

// leave_if_done ends the keeper after SIGTERM, or after its process 1 died, once no container runs.
void leave_if_done(void)
{
	if (!keeper.leaving)
		return;
	for (struct container *c = keeper.containers; c; c = c->next)
		if (c->state != EXITED)
			return;
	_exit(0);
}

static void on_listen(void *owner, uint32_t events)
{
	accept_connections();
}

static void on_signal(void *owner, uint32_t events)
{
	struct signalfd_siginfo si;
	while (read(keeper.signal_fd, &si, sizeof si) == sizeof si)
		if (si.ssi_signo == SIGTERM)
			keeper.leaving = 1;
	reap_children();
	leave_if_done();
}

// One event a round: a handler may free any other source, and none is looked at again before epoll names it.
static void loop(void)
{
	for (;;) {
		struct epoll_event e;
		int n = epoll_wait(keeper.epoll_fd, &e, 1, keeper.stuck ? 1000 : -1);
		// After a drop the event may name what is no longer there: it is level-triggered and comes again.
		if ((keeper.stuck && drop_stuck_connections(time(NULL))) || n != 1)
			continue;
		struct source *s = e.data.ptr;
		s->ready(s->owner, e.events);
	}
}

static void block_signals(void)
{
	struct sigaction dfl = {.sa_handler = SIG_DFL};
	for (int i = 1; i < 32; i++)
		sigaction(i, &dfl, NULL);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	signal(SIGINT, SIG_IGN);
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigaddset(&set, SIGTERM);
	sigprocmask(SIG_SETMASK, &set, NULL);
	keeper.signal_fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
}

// read_config reads all of the socket: the daemon closes its writing side.
static char *read_config(int fd, size_t *len)
{
	size_t cap = 4096, n = 0;
	char *buf = malloc(cap + 1);
	while (buf) {
		if (n == cap && (cap > 1 << 20 || !(buf = realloc(buf, (cap *= 2) + 1))))
			break;
		ssize_t r = read(fd, buf + n, cap - n);
		if (r < 0 && errno == EINTR)
			continue;
		if (r <= 0)
			break;
		n += r;
	}
	if (buf)
		buf[n] = 0;
	*len = n;
	return buf;
}

// The daemon hands over: 3 the configuration (a stream socket, also for the answer), 4 the listening control socket,
// 5 the sandbox's run directory.
static void keeper_main(void)
{
	static struct source listen_src, signal_src;
	clearenv();
	prctl(PR_SET_NAME, "skiff-keeper", 0, 0, 0);
	syscall(SYS_close_range, 6, ~0U, 0);
	for (int fd = 3; fd <= 5; fd++)
		fcntl(fd, F_SETFD, FD_CLOEXEC);
	setsid();
	umask(022);
	int null = open("/dev/null", O_RDWR);
	for (int fd = 0; fd <= 2; fd++)
		dup2(null, fd);
	keeper.null_fd = fcntl(null, F_DUPFD_CLOEXEC, 6);
	if (null > 2)
		close(null);
	if (chdir("/") < 0)
		_exit(1);
	keeper.dir_fd = 5;
	keeper.listen_fd = 4;
	fcntl(4, F_SETFL, O_RDWR | O_NONBLOCK);
	block_signals();

	size_t len;
	char *config = read_config(3, &len);
	const char *err = config ? sandbox_setup(config, len) : "out of memory";
	keeper.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (!err && (keeper.epoll_fd < 0 || keeper.signal_fd < 0))
		err = "cannot make the event loop";
	char reply[512];
	int n = err ? snprintf(reply, sizeof reply, "ERR %s", err) : snprintf(reply, sizeof reply, "OK %d", (int)keeper.pid1);
	if (n >= (int)sizeof reply)
		n = sizeof reply - 1;
	ssize_t w = write(3, reply, n);
	if (err || w != n)
		_exit(1);
	close(3);
	free(config);

	listen_src = (struct source){.fd = keeper.listen_fd, .ready = on_listen};
	signal_src = (struct source){.fd = keeper.signal_fd, .ready = on_signal};
	watch(&listen_src, EPOLLIN);
	watch(&signal_src, EPOLLIN);
	loop();
}

// One huge page would be most of a keeper, and the kernel gives one (where they are set to always) to the first touch of
// the executable's zeroed data, before any code of ours runs. So forbid them and start over. This is inherited: creators
// undo it.
static void without_huge_pages(const char *id)
{
	char env[256];
	char *const argv[] = {"skiff", "keeper", (char *)id, NULL}, *const envp[] = {env, NULL};
	snprintf(env, sizeof env, "_SKIFF_KEEPER=%s", id);
	if (prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0) == 0 && prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0) == 0)
		execve("/proc/self/exe", argv, envp);
}

__attribute__((constructor)) static void take_over(void)
{
	const char *id = getenv("_SKIFF_KEEPER");
	if (!id)
		return;
	without_huge_pages(id);
	keeper_main();
	_exit(1);
}
