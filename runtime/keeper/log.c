// The CRI log format: "2016-10-06T00:17:09.669794202Z stdout F line". Lines are written in batches by one writev; what
// cannot be written (disk full) is counted and told later: a container never waits for its log, and never loses it silently.
#define _GNU_SOURCE
#include "keeper.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum { BATCH = 64, PARTS = 4 }; // an entry: header, kept beginning, line, newline

static char headers[BATCH][48];
static struct iovec parts[BATCH * PARTS];
static int entries;

enum { LEVELS = 4 }; // pods/<pod>/<container>/<file> of a log's path are never symbolic links: a collector may have them mounted

// open_levels opens path for appending. What leads to its last levels is root's; these are entered one by one, without following a link.
static int open_levels(const char *path)
{
	char copy[PATH_MAX];
	char *slash[LEVELS] = {0};
	if (strlen(path) >= sizeof copy || *path != '/') {
		errno = ENAMETOOLONG;
		return -1;
	}
	strcpy(copy, path);
	int n = 0;
	for (char *s = copy + strlen(copy); s >= copy && n < LEVELS; s--)
		if (*s == '/')
			slash[n++] = s;
	for (int i = 0; i < n; i++)
		*slash[i] = 0;
	int dir = open(*copy ? copy : "/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	for (int i = n - 1; i > 0 && dir >= 0; i--) {
		int next = openat(dir, slash[i] + 1, O_PATH | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
		int e = errno;
		close(dir);
		errno = e;
		dir = next;
	}
	if (dir < 0)
		return -1;
	int fd = openat(dir, slash[0] + 1, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0640);
	int e = errno;
	close(dir);
	errno = e;
	return fd;
}

// open_log opens the log file (anew after a rotation). It returns -1 and leaves the open one alone if that fails.
int open_log(struct container *c)
{
	if (!c->log_path)
		return 0;
	int fd = open_levels(c->log_path);
	if (fd < 0)
		return -1;
	struct stat st;
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
		close(fd);
		errno = EINVAL;
		return -1;
	}
	if (c->log_fd >= 0)
		close(c->log_fd);
	c->log_fd = fd;
	c->log_size = st.st_size;
	c->log_full_sent = 0;
	return 0;
}

static int header(char *out, size_t size, const char *stream, char tag)
{
	static time_t second;
	static char prefix[32];
	struct timespec ts;
	clock_gettime(CLOCK_REALTIME, &ts);
	if (ts.tv_sec != second || !*prefix) {
		struct tm tm;
		gmtime_r(&ts.tv_sec, &tm);
		strftime(prefix, sizeof prefix, "%Y-%m-%dT%H:%M:%S", &tm);
		second = ts.tv_sec;
	}
	return snprintf(out, size, "%s.%09ldZ %s %c ", prefix, ts.tv_nsec, stream, tag);
}

// take_back cuts an entry that was written half off the file.
static void take_back(struct container *c, size_t n)
{
	struct stat st;
	if (n && fstat(c->log_fd, &st) == 0 && st.st_size >= (off_t)n && ftruncate(c->log_fd, st.st_size - n) == 0)
		return;
	c->log_size += n;
}

// write_entries writes whole entries and returns how many; errno tells why not all.
static int write_entries(struct container *c, struct iovec *v, int count)
{
	int done = 0;
	while (done < count) {
		ssize_t n = writev(c->log_fd, v + done * PARTS, (count - done) * PARTS);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return done;
		int before = done;
		for (; done < count; done++) {
			size_t size = 0;
			for (int i = 0; i < PARTS; i++)
				size += v[done * PARTS + i].iov_len;
			if ((size_t)n < size)
				break;
			n -= size;
			c->log_size += size;
		}
		if (n > 0)
			take_back(c, n);
		if (done < count && done == before) {
			errno = ENOSPC;
			return done;
		}
	}
	return done;
}

// tell_dropped writes one line about the lines that are missing, once there is room again.
static int tell_dropped(struct container *c)
{
	char h[48], text[160], newline = '\n';
	// With the time of the line that follows: times must not go backwards.
	int hn = snprintf(h, sizeof h, "%.30s stderr F ", headers[0]);
	int tn = snprintf(text, sizeof text, "[skiff: %llu log lines could not be written: %s]",
			  (unsigned long long)c->dropped, strerror(c->drop_errno));
	struct iovec v[PARTS] = {{h, hn}, {NULL, 0}, {text, tn}, {&newline, 1}};
	if (write_entries(c, v, 1) != 1)
		return 0;
	c->dropped = 0;
	return 1;
}

static void flush(struct container *c)
{
	int n = 0;
	if (!entries)
		return;
	if (!c->dropped || tell_dropped(c))
		n = write_entries(c, parts, entries);
	if (n < entries) {
		c->dropped += entries - n;
		c->drop_errno = errno;
	}
	entries = 0;
	if (c->log_max && c->log_size >= c->log_max && !c->log_full_sent)
		tell_log_full(c);
}

static void emit(struct stream *s, const char *data, size_t len, char tag)
{
	static char newline = '\n';
	struct iovec *v = parts + entries * PARTS;
	v[0].iov_base = headers[entries];
	v[0].iov_len = header(headers[entries], sizeof *headers, s->name, tag);
	v[1].iov_base = s->part;
	v[1].iov_len = s->part_len;
	v[2].iov_base = (char *)data;
	v[2].iov_len = len;
	v[3].iov_base = &newline;
	v[3].iov_len = 1;
	entries++;
	if (s->part_len || entries == BATCH)
		flush(s->c); // the kept beginning is overwritten by what comes next
	s->part_len = 0;
}

static void keep(struct stream *s, const char *data, size_t len)
{
	if (!len)
		return;
	if (!s->part && !(s->part = malloc(LINE_LIMIT))) {
		emit(s, data, len, 'P');
		flush(s->c);
		return;
	}
	memcpy(s->part + s->part_len, data, len);
	s->part_len += len;
}

void log_output(struct stream *s, const char *data, size_t len)
{
	if (s->c->log_fd < 0)
		return;
	while (len) {
		const char *nl = memchr(data, '\n', len);
		size_t line = nl ? (size_t)(nl - data) : len;
		while (s->part_len + line > LINE_LIMIT) {
			size_t n = LINE_LIMIT - s->part_len;
			emit(s, data, n, 'P');
			data += n;
			len -= n;
			line -= n;
		}
		if (nl)
			emit(s, data, line++, 'F');
		else
			keep(s, data, line);
		data += line;
		len -= line;
	}
	flush(s->c);
	if (!s->part_len) {
		free(s->part);
		s->part = NULL;
	}
}

// log_end tells, at the end of the container, what was lost and not told.
void log_end(struct container *c)
{
	if (c->log_fd >= 0 && c->dropped)
		tell_dropped(c);
}

// log_rest writes a last line that had no newline.
void log_rest(struct stream *s)
{
	if (s->part_len)
		emit(s, NULL, 0, 'P');
	flush(s->c);
	free(s->part);
	s->part = NULL;
}
