// The first process of a pod, and of a node of scripts/cluster: it holds the namespaces, buries the dead, and ends when told.
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static void end(int signal) {
    (void)signal;
    _exit(0);
}

static void bury(int signal) {
    (void)signal;
    while (waitpid(-1, NULL, WNOHANG) > 0) {
    }
}

int main(void) {
    struct sigaction told = {.sa_handler = end}, dead = {.sa_handler = bury, .sa_flags = SA_NOCLDSTOP};
    if (sigaction(SIGTERM, &told, NULL) || sigaction(SIGINT, &told, NULL) || sigaction(SIGCHLD, &dead, NULL)) {
        return 1;
    }
    for (;;) {
        pause();
    }
}
