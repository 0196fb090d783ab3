// Starting the creator: the executable once more, as the short-lived Go process that makes the container.
#define _GNU_SOURCE
#include "keeper.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

// The creator's descriptors: 2 and 4 the result, 3 its request, 5 to 7 the container's stdio (5 the console socket
// with a terminal), 8 the executable.
static void become_creator(const char *id, int exe_fd, int config_fd, int result_fd, const int stdio[3])
{
	int from[] = {config_fd, result_fd, stdio[0], stdio[1], stdio[2], exe_fd};
	char *const argv[] = {"skiff", "create", (char *)id, NULL};
	char *const env[] = {"_SKIFF_CREATE=1", "GOMAXPROCS=2", "GOGC=off", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", NULL};
	prctl(PR_SET_THP_DISABLE, 0, 0, 0, 0);
	prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0); // what it makes would be nobody's
	// Ignored signals and the mask would be inherited, down to the container. Past the C library, which keeps two signals to itself
	// and leaves one of them ignored in what make and other callers of posix_spawn start. Zeros are SIG_DFL in every architecture.
	long dfl[8] = {0};
	for (int i = 1; i <= 64; i++)
		syscall(SYS_rt_sigaction, i, dfl, NULL, 8);
	sigset_t none;
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	for (int i = 0; i < 6; i++) // out of the way of 3 to 8 first
		if (from[i] >= 0 && (from[i] = fcntl(from[i], F_DUPFD_CLOEXEC, 16)) < 0)
			_exit(127);
	dup2(from[1], 2);
	for (int i = 0; i < 6; i++)
		if (from[i] >= 0)
			dup2(from[i], 3 + i);
		else
			dup2(keeper.null_fd, 3 + i);
	syscall(SYS_close_range, 9, ~0U, 0);
	fcntl(8, F_SETFD, FD_CLOEXEC);
	syscall(SYS_execveat, 8, "", argv, env, 0x1000 /* AT_EMPTY_PATH */);
	dprintf(4, "run the executable: %s", strerror(errno));
	_exit(127);
}

pid_t spawn_creator(struct container *c, int exe_fd, int config_fd, int result_fd, const int stdio[3])
{
	pid_t pid = fork();
	if (pid == 0)
		become_creator(c->id, exe_fd, config_fd, result_fd, stdio);
	return pid;
}

// receive_pty takes the pty master that container init sent.
int receive_pty(int socket_fd)
{
	char name[4096];
	union {
		char buf[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control;
	struct iovec v = {name, sizeof name};
	struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = control.buf, .msg_controllen = sizeof control.buf};
	int fd = -1;
	if (recvmsg(socket_fd, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC) < 0)
		return -1;
	struct cmsghdr *h = CMSG_FIRSTHDR(&m);
	if (h && h->cmsg_level == SOL_SOCKET && h->cmsg_type == SCM_RIGHTS && h->cmsg_len >= CMSG_LEN(sizeof fd))
		memcpy(&fd, CMSG_DATA(h), sizeof fd);
	if (fd >= 0)
		fcntl(fd, F_SETFL, O_RDWR | O_NONBLOCK);
	return fd;
}
