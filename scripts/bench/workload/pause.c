/* The workload of the benchmark: it waits, and ends at once when it is asked to. */
#include <signal.h>
#include <unistd.h>

static void end(int sig) { (void)sig; _exit(0); }

int main(void)
{
	signal(SIGTERM, end);
	for (;;)
		pause();
}
