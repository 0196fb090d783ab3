// Making the sandbox: cgroups, namespaces, hostname, loopback, sysctls, and process 1 of a shared PID namespace.
#define _GNU_SOURCE
#include "keeper.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static char message[384];

static const char *failed(const char *doing, const char *what)
{
	snprintf(message, sizeof message, "%s %s: %s", doing, what, strerror(errno));
	return message;
}

static const char *write_value(const char *path, const char *value)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return failed("open", path);
	ssize_t n = write(fd, value, strlen(value));
	int e = errno;
	close(fd);
	errno = e;
	return n < 0 ? failed("write", path) : NULL;
}

static const char *loopback_up(void)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return failed("bring up", "lo");
	struct ifreq r = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
	int n = ioctl(fd, SIOCSIFFLAGS, &r);
	close(fd);
	return n < 0 ? failed("bring up", "lo") : NULL;
}

// process1 is the first process of the PID namespace that the sandbox's containers share. It reaps, and nothing else.
static void process1(void)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	prctl(PR_SET_NAME, "skiff-pid1", 0, 0, 0);
	syscall(SYS_close_range, 0, ~0U, 0);
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_SETMASK, &set, NULL);
	for (;;) {
		int sig;
		while (waitpid(-1, NULL, WNOHANG) > 0)
			;
		sigwait(&set, &sig);
	}
}

static const char *apply(const char *key, char *value)
{
	if (!strcmp(key, "join"))
		return join_cgroup(value) < 0 ? failed("join cgroup", value) : NULL;
	if (!strcmp(key, "oom"))
		return write_value("/proc/self/oom_score_adj", value), NULL; // without CAP_SYS_RESOURCE it cannot be lowered: no matter
	if (!strcmp(key, "unshare"))
		return unshare(atoi(value)) < 0 ? failed("unshare", "namespaces") : NULL;
	if (!strcmp(key, "hostname"))
		return sethostname(value, strlen(value)) < 0 ? failed("set hostname", value) : NULL;
	if (!strcmp(key, "lo"))
		return loopback_up();
	if (!strcmp(key, "sysctl")) { // <path>=<value>
		char *eq = strchr(value, '=');
		if (!eq)
			return "bad sysctl";
		*eq = 0;
		return write_value(value, eq + 1);
	}
	if (!strcmp(key, "pid1")) {
		// Not fork after unshare: the creators must stay in the keeper's own PID namespace.
		pid_t pid = syscall(SYS_clone, CLONE_NEWPID | SIGCHLD, 0, 0, 0, 0);
		if (pid == 0)
			process1();
		if (pid < 0)
			return failed("make", "PID namespace");
		keeper.pid1 = pid;
	}
	return NULL; // an unknown key is of a later version
}

// sandbox_setup applies the configuration in its order: strings key=value, each ended by NUL.
const char *sandbox_setup(char *config, size_t len)
{
	if (prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0)
		return failed("become", "subreaper");
	for (char *p = config; p < config + len;) {
		char *end = p + strlen(p); // apply may cut the value at another '='
		char *eq = strchr(p, '=');
		if (eq) {
			*eq = 0;
			const char *err = apply(p, eq + 1);
			if (err)
				return err;
		} else if (!strcmp(p, "end"))
			return NULL;
		p = end + 1;
	}
	return "the configuration is not whole"; // the daemon died meanwhile
}
