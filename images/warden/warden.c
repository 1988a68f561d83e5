/* The warden of a lease pod: says, until the lease's deadline, that the notebook container may live.
 *
 * The kubelet asks it once a second, as the notebook container's liveness probe (HTTP GET). From LEAD before the
 * deadline on the answer is 503, and the kubelet ends the notebook. No process of Sublet takes part. The deadline is
 * an annotation of the pod, which the kubelet projects into a file that only this container sees.
 *
 * The notebook shares nothing with the warden but the pod's network, where user code could answer in its place if it
 * ever got the port. So PID 1 does nothing but hold the port, from before the notebook starts; a child answers.
 *
 *   warden hold --file PATH --port N --lead-ms N [--leave-after-ms N --notebook-port N]
 *   warden ready --port N --within-ms N     exits 0 once the port is held
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    /* Connections at a time. One more closes the oldest: whoever keeps many open can't keep the kubelet out. */
    TABLE = 64,
    /* Connections that may wait to be accepted. The kubelet makes one a second. */
    BACKLOG = 128,
    /* How long one may take to ask, and then to take its answer: as long as the kubelet's own patience. */
    PATIENCE_MS = 3000,
    /* The kubelet's question has 120 bytes or so. */
    LONGEST_QUESTION = 8192,
    /* Bytes of a connection that the kernel may keep for us; they count as this container's memory. */
    RECEIVE_BUFFER = 4096,
    /* Checks, a second apart, by which the notebook's port must refuse before it is believed to be gone. */
    REFUSALS = 3,
};

struct flags {
    const char *file;
    int64_t port, lead_ms, leave_after_ms, notebook_port, within_ms;
};

struct connection {
    int fd; /* -1: free */
    int64_t since_ms;
    int newlines; /* at the end of what was read so far: two end the question */
    int seen;
    bool answered;
};

/* Time since some moment, for spans. */
static int64_t monotonic_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* The node's clock, which user code can't set. */
static int64_t wall_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* ---------------------------------------------------------------- the deadline */

/* Milliseconds since the epoch, or -1 for what isn't 1 to 18 decimal digits and nothing else. */
static int64_t parse_ms(const char *text, size_t length)
{
    int64_t value = 0;
    if (length < 1 || length > 18)
        return -1;
    for (size_t i = 0; i < length; i++) {
        if (text[i] < '0' || text[i] > '9')
            return -1;
        value = value * 10 + (text[i] - '0');
    }
    return value;
}

/* The deadline as the file has it now, or -1. The kubelet writes a new folder, turns a symbolic link to it and
 * removes the old one: a path resolved just before that names a file that is gone, so that is tried again. */
static int64_t read_deadline(const char *path)
{
    char text[32];
    int fd = -1;
    for (int attempt = 0; attempt < 3 && fd < 0; attempt++) {
        fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        if (fd < 0 && errno != ENOENT && errno != EINTR)
            break;
    }
    if (fd < 0)
        return -1;
    ssize_t length = read(fd, text, sizeof text);
    close(fd);
    return length < 0 ? -1 : parse_ms(text, (size_t)length);
}

/* ---------------------------------------------------------------- the port */

/* A listening socket on every address of the pod. Neither SO_REUSEADDR nor SO_REUSEPORT:
 * - without SO_REUSEPORT nobody else can listen here, on whichever address, while this socket lives;
 * - without SO_REUSEADDR nobody can bind beside it between our bind and listen, and connections that this end closed
 *   first (as `answer` does) keep the port taken for the minute of TIME_WAIT, also when this program is dead. The
 *   kubelet leaves one a second, and needs seconds to end the notebook. That a warden that is started again can't
 *   bind either is right: between the two the port was free.
 * Returns -1 where the node lacks that family. */
static int listen_on(int family, uint16_t port)
{
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } address;
    const int on = 1, buffer = RECEIVE_BUFFER;
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 && errno == EAFNOSUPPORT)
        return -1;
    memset(&address, 0, sizeof address);
    if (family == AF_INET6) {
        address.v6.sin6_family = AF_INET6;
        address.v6.sin6_port = htons(port);
    } else {
        address.v4.sin_family = AF_INET;
        address.v4.sin_port = htons(port);
    }
    socklen_t size = family == AF_INET6 ? sizeof address.v6 : sizeof address.v4;
    if (fd < 0 || (family == AF_INET6 && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on) < 0) ||
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &buffer, sizeof buffer) < 0 || bind(fd, &address.any, size) < 0 ||
        listen(fd, BACKLOG) < 0) {
        fprintf(stderr, "warden: can't listen on port %u: %s\n", port, strerror(errno));
        exit(1);
    }
    return fd;
}

/* Whether the notebook's port refuses connections. Anything unclear is no. */
static bool notebook_refuses(int64_t port)
{
    const struct timeval patience = {.tv_usec = 100 * 1000}; /* connect obeys it too */
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return false;
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    bool refuses = connect(fd, (struct sockaddr *)&address, sizeof address) < 0 && errno == ECONNREFUSED;
    close(fd);
    return refuses;
}

/* ---------------------------------------------------------------- the answerer */

static struct connection table[TABLE];

static void drop(struct connection *c)
{
    close(c->fd);
    c->fd = -1;
}

static struct connection *oldest(void)
{
    struct connection *found = NULL;
    for (struct connection *c = table; c < table + TABLE; c++)
        if (c->fd >= 0 && (!found || c->since_ms < found->since_ms))
            found = c;
    return found;
}

static struct connection *free_place(void)
{
    for (struct connection *c = table; c < table + TABLE; c++)
        if (c->fd < 0)
            return c;
    struct connection *c = oldest();
    drop(c);
    return c;
}

/* Whether the other end is in this pod: user code is, the kubelet isn't. */
static bool comes_from_inside(int fd)
{
    struct sockaddr_storage here, there;
    socklen_t here_size = sizeof here, there_size = sizeof there;
    memset(&here, 0, sizeof here);
    memset(&there, 0, sizeof there);
    if (getsockname(fd, (struct sockaddr *)&here, &here_size) < 0 ||
        getpeername(fd, (struct sockaddr *)&there, &there_size) < 0)
        return true;
    if (there.ss_family == AF_INET) {
        in_addr_t from = ((struct sockaddr_in *)&there)->sin_addr.s_addr;
        return ntohl(from) >> 24 == 127 || from == ((struct sockaddr_in *)&here)->sin_addr.s_addr;
    }
    struct in6_addr *from = &((struct sockaddr_in6 *)&there)->sin6_addr;
    return IN6_IS_ADDR_LOOPBACK(from) || memcmp(from, &((struct sockaddr_in6 *)&here)->sin6_addr, sizeof *from) == 0;
}

/* Ends a connection by a reset, so that it leaves nothing behind in the kernel. */
static void turn_away(int fd)
{
    const struct linger at_once = {.l_onoff = 1};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    close(fd);
}

/* Without a Content-Length, and with the FIN beside it: an answer cut short would be an error to the kubelet, and a
 * probe that errs is thrown away, not counted; and the end that closes first keeps the TIME_WAIT (see listen_on). */
static void answer(struct connection *c, const struct flags *flags)
{
    static int said = -1;
    char text[192];
    int64_t deadline_ms = read_deadline(flags->file);
    bool yes = deadline_ms >= 0 && wall_ms() < deadline_ms - flags->lead_ms;
    int length = snprintf(text, sizeof text,
                          "HTTP/1.1 %s\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\ndeadline %lld\n",
                          yes ? "200 OK" : "503 Service Unavailable", (long long)deadline_ms);
    if (send(c->fd, text, (size_t)length, MSG_NOSIGNAL | MSG_DONTWAIT | MSG_MORE) != length ||
        shutdown(c->fd, SHUT_WR) < 0) {
        drop(c);
        return;
    }
    c->answered = true;
    c->since_ms = monotonic_ms();
    if (said != yes)
        fprintf(stderr, "warden: %s, the deadline is %lld\n", yes ? "yes" : "no", (long long)deadline_ms);
    said = yes;
}

/* Returns whether a whole question was heard. */
static bool hear(struct connection *c)
{
    char bytes[512];
    ssize_t count = recv(c->fd, bytes, sizeof bytes, MSG_DONTWAIT);
    if (count < 0 && (errno == EAGAIN || errno == EINTR))
        return false;
    if (count <= 0 || (c->seen += (int)count) > LONGEST_QUESTION) {
        drop(c);
        return false;
    }
    for (ssize_t i = 0; i < count && c->newlines < 2; i++)
        if (bytes[i] == '\n')
            c->newlines++;
        else if (bytes[i] != '\r')
            c->newlines = 0;
    return c->newlines == 2 && !c->answered;
}

/* Takes in who waits. Returns false when the system had no descriptor or memory for one. */
static bool take_in(int listener, int64_t now_ms)
{
    for (int i = 0; i < BACKLOG; i++) {
        int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd < 0)
            return errno == EAGAIN || errno == ECONNABORTED || errno == EINTR;
        if (comes_from_inside(fd))
            turn_away(fd); /* user code has nothing to ask, and takes no place in the table */
        else
            *free_place() = (struct connection){.fd = fd, .since_ms = now_ms};
    }
    return true;
}

/* Where the kubelet doesn't end the warden after the notebook (a cluster without native sidecars), the warden has to
 * go by itself, or the pod would hold its GPU until the hard cap. The kubelet asks for as long as the notebook
 * runs; so the notebook is gone when nobody has asked for a time and its port refuses. Neither alone would do: user
 * code may close the notebook's port, and would find ours free a moment later; and a kubelet may be away for an
 * upgrade. Whoever was never asked stays: the notebook may be yet to come. */
static bool is_gone(const struct flags *flags, int64_t asked_ms, int64_t now_ms)
{
    static int refusals;
    static int64_t checked_ms;
    if (!flags->leave_after_ms || !asked_ms || now_ms - asked_ms < flags->leave_after_ms) {
        refusals = 0;
        return false;
    }
    if (now_ms - checked_ms < 1000)
        return false;
    checked_ms = now_ms;
    refusals = notebook_refuses(flags->notebook_port) ? refusals + 1 : 0;
    return refusals >= REFUSALS;
}

static void answer_all(const int *listeners, int listening, const struct flags *flags)
{
    int64_t asked_ms = 0;
    bool short_of_something = false;
    for (struct connection *c = table; c < table + TABLE; c++)
        c->fd = -1;
    for (;;) {
        struct pollfd asked[2 + TABLE];
        for (int i = 0; i < listening; i++)
            asked[i] = (struct pollfd){.fd = short_of_something ? -1 : listeners[i], .events = POLLIN};
        for (int i = 0; i < TABLE; i++)
            asked[listening + i] = (struct pollfd){.fd = table[i].fd, .events = POLLIN};
        poll(asked, (nfds_t)(listening + TABLE), short_of_something ? 10 : 500);

        int64_t now_ms = monotonic_ms();
        for (int i = 0; i < TABLE; i++) {
            struct connection *c = &table[i];
            if (c->fd >= 0 && asked[listening + i].revents && hear(c)) {
                asked_ms = now_ms;
                answer(c, flags);
            }
            if (c->fd >= 0 && now_ms - c->since_ms > PATIENCE_MS)
                drop(c);
        }
        short_of_something = false;
        for (int i = 0; i < listening; i++)
            if (asked[i].revents && !take_in(listeners[i], now_ms))
                short_of_something = true;
        if (short_of_something && oldest())
            drop(oldest());
        if (is_gone(flags, asked_ms, now_ms))
            return;
    }
}

/* ---------------------------------------------------------------- the holder */

static pid_t start_answerer(const int *listeners, int listening, const struct flags *flags, const sigset_t *before)
{
    pid_t pid = fork();
    if (pid < 0) {
        perror("warden: can't fork");
        exit(1);
    }
    if (pid > 0)
        return pid;
    sigprocmask(SIG_SETMASK, before, NULL);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    prctl(PR_SET_NAME, "warden-answers");
    mlockall(MCL_CURRENT); /* where it may: a node short of memory then delays no answer */
    answer_all(listeners, listening, flags);
    _exit(0);
}

/* Holds the port until SIGTERM, or until the answerer has found the notebook to be gone.
 *
 * An answerer that died is not started again. Nobody answers then, the probe fails, and the kubelet ends the notebook:
 * closed, not open. A second answerer might die of the same cause, or answer after a gap in which the kubelet
 * has already decided; what must not happen is that the port is let go of, and PID 1 does nothing that could. */
static int hold(const struct flags *flags)
{
    int listeners[2], listening = 0;
    sigset_t awaited, before;
    sigemptyset(&awaited);
    sigaddset(&awaited, SIGTERM);
    sigaddset(&awaited, SIGINT);
    sigaddset(&awaited, SIGCHLD);
    sigprocmask(SIG_BLOCK, &awaited, &before);
    signal(SIGPIPE, SIG_IGN); /* whoever collects our log may be gone */
    prctl(PR_SET_DUMPABLE, 0);

    const int families[] = {AF_INET, AF_INET6};
    for (int i = 0; i < 2; i++) {
        int fd = listen_on(families[i], (uint16_t)flags->port);
        if (fd >= 0)
            listeners[listening++] = fd;
    }
    if (!listening) {
        fprintf(stderr, "warden: neither IPv4 nor IPv6 here\n");
        return 1;
    }
    fprintf(stderr, "warden: holding port %lld\n", (long long)flags->port);
    pid_t answerer = start_answerer(listeners, listening, flags, &before);
    for (;;) {
        int signal_number = sigwaitinfo(&awaited, NULL), status;
        if (signal_number == SIGTERM || signal_number == SIGINT)
            return 0;
        for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;) {
            if (pid != answerer)
                continue;
            if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
                fprintf(stderr, "warden: the notebook is gone, so leaving\n");
                return 0;
            }
            fprintf(stderr, "warden: the answerer died (status %d), so nobody answers from here on\n", status);
        }
    }
}

/* ---------------------------------------------------------------- ready */

static bool listens(const char *sockets, unsigned port)
{
    char line[512];
    bool found = false;
    FILE *lines = fopen(sockets, "re");
    if (!lines)
        return false;
    while (!found && fgets(line, sizeof line, lines)) {
        unsigned local_port, state;
        found = sscanf(line, " %*u: %*[0-9A-F]:%x %*[0-9A-F]:%*x %x", &local_port, &state) == 2 &&
                local_port == port && state == TCP_LISTEN;
    }
    fclose(lines);
    return found;
}

/* For a hook that holds back the notebook container until the port is taken: before that, nobody but the warden is
 * in the pod, so that whoever listens is the warden. */
static int ready(const struct flags *flags)
{
    const struct timespec pause = {.tv_nsec = 2 * 1000 * 1000};
    for (int64_t end_ms = monotonic_ms() + flags->within_ms; monotonic_ms() < end_ms; nanosleep(&pause, NULL))
        if (listens("/proc/net/tcp", (unsigned)flags->port) || listens("/proc/net/tcp6", (unsigned)flags->port))
            return 0;
    fprintf(stderr, "warden: nobody listens on port %lld\n", (long long)flags->port);
    return 1;
}

/* ---------------------------------------------------------------- the command line */

static void refuse(const char *why, const char *what)
{
    fprintf(stderr, "warden: %s: %s\n", why, what);
    exit(2);
}

static int64_t number(const char *flag, const char *text, int64_t least, int64_t most)
{
    int64_t value = parse_ms(text, strlen(text));
    if (value < least || value > most)
        refuse("wrong number for", flag);
    return value;
}

static struct flags parse(int count, char **words)
{
    struct flags flags = {.lead_ms = -1};
    for (int i = 0; i < count; i += 2) {
        const char *flag = words[i], *value = words[i + 1];
        if (i + 1 >= count)
            refuse("no value for", flag);
        if (!strcmp(flag, "--file"))
            flags.file = value;
        else if (!strcmp(flag, "--port"))
            flags.port = number(flag, value, 1, 65535);
        else if (!strcmp(flag, "--lead-ms"))
            flags.lead_ms = number(flag, value, 0, INT_MAX);
        else if (!strcmp(flag, "--leave-after-ms"))
            flags.leave_after_ms = number(flag, value, 1, INT_MAX);
        else if (!strcmp(flag, "--notebook-port"))
            flags.notebook_port = number(flag, value, 1, 65535);
        else if (!strcmp(flag, "--within-ms"))
            flags.within_ms = number(flag, value, 1, INT_MAX);
        else
            refuse("unknown flag", flag);
    }
    if (!flags.port)
        refuse("missing", "--port");
    return flags;
}

int main(int count, char **words)
{
    if (count < 2)
        refuse("missing", "hold or ready");
    struct flags flags = parse(count - 2, words + 2);
    if (!strcmp(words[1], "ready")) {
        if (!flags.within_ms)
            refuse("missing", "--within-ms");
        return ready(&flags);
    }
    if (strcmp(words[1], "hold"))
        refuse("neither hold nor ready", words[1]);
    if (!flags.file || flags.lead_ms < 0)
        refuse("missing", flags.file ? "--lead-ms" : "--file");
    if (!flags.leave_after_ms != !flags.notebook_port)
        refuse("only together", "--leave-after-ms, --notebook-port");
    return hold(&flags);
}
