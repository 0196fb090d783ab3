// Cgroups by their files: joining one, and killing everything in one.
#include "keeper.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int write_file(const char *dir, const char *name, const char *value)
{
	char path[4096];
	if (snprintf(path, sizeof path, "%s/%s", dir, name) >= (int)sizeof path)
		return -1;
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	ssize_t n = write(fd, value, strlen(value));
	close(fd);
	return n < 0 ? -1 : 0;
}

int join_cgroup(const char *dir)
{
	return write_file(dir, "cgroup.procs", "0");
}

static int kill_listed(const char *dir)
{
	char path[4096];
	snprintf(path, sizeof path, "%s/cgroup.procs", dir);
	FILE *f = fopen(path, "re");
	if (!f)
		return 0;
	int pid, n = 0;
	while (fscanf(f, "%d", &pid) == 1)
		if (pid > 1 && kill(pid, SIGKILL) == 0)
			n++;
	fclose(f);
	return n;
}

// kill_cgroup kills what is in the cgroup: by cgroup.kill where there is one (v2, hybrid), else (the freezer of v1)
// frozen meanwhile, so that nothing forks its way out.
void kill_cgroup(const char *dir)
{
	if (!dir || !*dir || write_file(dir, "cgroup.kill", "1") == 0)
		return;
	write_file(dir, "freezer.state", "FROZEN");
	kill_listed(dir);
	write_file(dir, "freezer.state", "THAWED");
	kill_listed(dir);
}
