// Making the sandbox: cgroups, namespaces, hostname, loopback, sysctls, and process 1 of a shared PID namespace.
#define _GNU_SOURCE
#include "keeper.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
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
static int maker; // this process makes namespaces inside a user namespace, see in_user_namespace

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

// take_over moves the keeper into the namespaces that the maker made, all but the user namespace.
static const char *take_over(pid_t pid)
{
	static const char *const names[] = {"net", "ipc", "uts"};
	for (int i = 0; i < 3; i++) {
		char path[48];
		snprintf(path, sizeof path, "/proc/%d/ns/%s", (int)pid, names[i]);
		int fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			return failed("open", path);
		int n = setns(fd, 0), e = errno;
		close(fd);
		errno = e;
		if (n < 0)
			return failed("join", path);
	}
	return NULL;
}

// map_users gives a new user namespace its range: 65536 ids of the host from base on.
static const char *map_users(pid_t pid, const char *base)
{
	static const char *const files[] = {"uid_map", "gid_map"};
	for (int i = 0; i < 2; i++) {
		char path[48], line[48];
		snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, files[i]);
		snprintf(line, sizeof line, "0 %s 65536", base);
		const char *err = write_value(path, line);
		if (err)
			return err;
	}
	return NULL;
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
		// CLONE_PARENT: with a user namespace this is the maker, which ends, and it is the keeper's child all the same.
		pid_t pid = syscall(SYS_clone, CLONE_NEWPID | (maker ? CLONE_PARENT : 0) | SIGCHLD, 0, 0, 0, 0);
		if (pid == 0)
			process1();
		if (pid < 0)
			return failed("make", "PID namespace");
		keeper.pid1 = pid;
	}
	return NULL; // an unknown key is of a later version
}

static const char *apply_rest(char *p, char *end);

// The maker's words to the keeper, in this order.
enum { UNSHARED = 'u', MADE = 'm', FAILED = 'f' };

struct said {
	char word, text[sizeof message];
	pid_t pid1; // MADE: process 1 of the shared PID namespace, or 0
};

// make_inside is the maker: a short-lived process that becomes root of a new user namespace, so that the sandbox's other
// namespaces are made by it and belong to it. The keeper maps its users and takes over its namespaces.
static void make_inside(int fd, char *rest, char *end)
{
	const char *err = unshare(CLONE_NEWUSER) < 0 ? failed("unshare", "user namespace") : NULL;
	char word = err ? FAILED : UNSHARED;
	if (write(fd, &word, 1) != 1 || (!err && read(fd, &word, 1) != 1))
		_exit(1);
	if (!err && (setgroups(0, NULL) < 0 || setresgid(0, 0, 0) < 0 || setresuid(0, 0, 0) < 0))
		err = failed("become", "root of the user namespace");
	prctl(PR_SET_DUMPABLE, 0, 0, 0, 0); // the container's root, who is the same user, must not find the host's files by /proc/1/root
	if (!err)
		err = apply_rest(rest, end);
	struct said said = {.word = err ? FAILED : MADE, .pid1 = keeper.pid1};
	if (err)
		snprintf(said.text, sizeof said.text, "%s", err);
	if (write(fd, &said, sizeof said) == sizeof said && read(fd, &word, 1) >= 0)
		_exit(0);
	_exit(1);
}

// in_user_namespace applies the rest of the configuration inside a new user namespace whose ids begin at base on the host.
// The keeper itself stays outside: it starts the creators, which are the host's root.
static const char *in_user_namespace(const char *base, char *rest, char *end)
{
	int p[2];
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, p) < 0)
		return failed("make", "socket");
	pid_t pid = fork();
	if (pid < 0)
		return failed("fork", "maker");
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
		maker = 1;
		close(p[0]);
		make_inside(p[1], rest, end);
	}
	close(p[1]);
	struct said said = {0};
	const char *err = NULL;
	if (read(p[0], &said.word, 1) != 1)
		err = "the maker of the user namespace ended without a word";
	else if (said.word != UNSHARED)
		err = "no user namespace can be made (see the sysctl user.max_user_namespaces)";
	else if (!(err = map_users(pid, base))) {
		if (write(p[0], &said.word, 1) != 1 || read(p[0], &said, sizeof said) != sizeof said)
			err = "the maker of the namespaces ended without a word";
		else if (said.word != MADE)
			err = strcpy(message, said.text);
		else
			err = take_over(pid);
		keeper.pid1 = said.pid1;
	}
	close(p[0]);
	if (err)
		kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	return err;
}

static const char *apply_rest(char *p, char *config_end)
{
	while (p < config_end) {
		char *end = p + strlen(p); // apply may cut the value at another '='
		char *eq = strchr(p, '=');
		if (eq) {
			*eq = 0;
			if (!strcmp(p, "users"))
				return in_user_namespace(eq + 1, end + 1, config_end);
			const char *err = apply(p, eq + 1);
			if (err)
				return err;
		} else if (!strcmp(p, "end"))
			return NULL;
		p = end + 1;
	}
	return "the configuration is not whole"; // the daemon died meanwhile
}

// sandbox_setup applies the configuration in its order: strings key=value, each ended by NUL.
const char *sandbox_setup(char *config, size_t len)
{
	if (prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0)
		return failed("become", "subreaper");
	return apply_rest(config, config + len);
}
