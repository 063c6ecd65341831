/* The shim that runs every user's step of a training pod, for the operator and the report.
 *
 *   shim --name STEP --state FILE [--tolerate] [--message FILE] -- COMMAND [ARG...]
 *
 * It runs COMMAND without a shell, passes its output and its signals through, and keeps the last
 * lines. At the end it writes a record to --state (JSON) and, on failure, a short one to --message
 * (/dev/termination-log), from where Kubernetes puts it into the pod's status. It exits as COMMAND
 * did (128 + signal if killed, 127 not found, 126 not executable); with --tolerate always 0.
 *
 * One static file with no dependency, since it must work in any image, also in one with no shell.
 * Build: cc -static -Os -o shim shim.c
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    LINES = 20,            /* lines kept */
    LINE_BYTES = 1000,     /* bytes kept of one line, from its beginning */
    RECORD_BYTES = 4096,   /* of last lines in the record */
    MESSAGE_BYTES = 1000,  /* of last lines in the termination message (1.5 KiB for a container) */
    CHUNK = 65536
};

/* A line under construction, one per stream so that stdout and stderr do not mix within a line. */
struct line {
    char text[LINE_BYTES];
    size_t length;
    bool returned; /* after a carriage return the next character overwrites (progress bars) */
};

static char last[LINES][LINE_BYTES + 1];
static size_t count; /* lines seen */
static const char *step = "";

static void keep(const char *text, size_t length) {
    char *slot = last[count++ % LINES];
    memcpy(slot, text, length);
    slot[length] = 0;
}

static void finish(struct line *line) {
    if (line->length) keep(line->text, line->length);
    line->length = 0;
    line->returned = false;
}

static void feed(struct line *line, const char *bytes, size_t length) {
    for (size_t i = 0; i < length; i++) {
        char byte = bytes[i];
        if (byte == '\n') {
            finish(line);
            continue;
        }
        if (line->returned) line->length = 0;
        line->returned = byte == '\r';
        if (byte && byte != '\r' && line->length < LINE_BYTES) line->text[line->length++] = byte;
    }
}

/* Length of a valid UTF-8 sequence at `text`, or 0. */
static int utf8(const unsigned char *text) {
    int extra = *text < 0x80 ? 0 : *text >= 0xC2 && *text < 0xE0 ? 1 : (*text & 0xF0) == 0xE0 ? 2
              : *text >= 0xF0 && *text < 0xF5 ? 3 : -1;
    for (int i = 1; i <= extra; i++)
        if ((text[i] & 0xC0) != 0x80) return 0;
    if (*text == 0xE0 && text[1] < 0xA0) return 0; /* overlong */
    if (*text == 0xED && text[1] > 0x9F) return 0; /* surrogate */
    if (*text == 0xF0 && text[1] < 0x90) return 0;
    if (*text == 0xF4 && text[1] > 0x8F) return 0;
    return extra + 1;
}

/* `text` as the inside of a JSON string of at most `room` bytes; what does not fit is cut. */
static size_t escape(char *out, size_t room, const char *text) {
    size_t used = 0;
    for (const unsigned char *c = (const unsigned char *)text; *c;) {
        char piece[8];
        int width = utf8(c);
        if (width == 0) {
            strcpy(piece, "\\ufffd");
            width = 1;
        } else if (*c == '"' || *c == '\\') {
            snprintf(piece, sizeof piece, "\\%c", *c);
        } else if (*c < 0x20 || *c == 0x7F) {
            snprintf(piece, sizeof piece, "\\u%04x", *c);
        } else {
            memcpy(piece, c, (size_t)width);
            piece[width] = 0;
        }
        size_t length = strlen(piece);
        if (used + length > room) break;
        memcpy(out + used, piece, length);
        used += length;
        c += width;
    }
    out[used] = 0;
    return used;
}

/* The newest lines that fit into `room` escaped bytes, oldest first, joined by `between`. */
static void last_lines(FILE *file, size_t room, const char *between) {
    static char pieces[LINES][RECORD_BYTES + 1];
    size_t kept = 0, used = 0, available = count < LINES ? count : LINES;
    while (kept < available) {
        size_t cost = strlen(between);
        if (used + cost >= room) break;
        const char *line = last[(count - 1 - kept) % LINES];
        size_t length = escape(pieces[kept], RECORD_BYTES, line);
        if (used + cost + length > room) {
            if (kept) break; /* an older line that does not fit is left out whole */
            length = escape(pieces[kept], room - cost, line);
        }
        used += cost + length;
        kept++;
    }
    for (size_t i = kept; i-- > 0;) fprintf(file, "%s%s", pieces[i], i ? between : "");
}

static void make_folders(const char *path) {
    char folder[4096];
    snprintf(folder, sizeof folder, "%s", path);
    for (char *slash = strchr(folder + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = 0;
        mkdir(folder, 0775);
        *slash = '/';
    }
}

static void timestamp(char *out, size_t size) {
    time_t now = time(NULL);
    struct tm parts;
    strftime(out, size, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &parts));
}

/* Whether this container's cgroup has had a process killed for memory. */
static bool out_of_memory(void) {
    FILE *file = fopen("/sys/fs/cgroup/memory.events", "re");
    char name[64];
    unsigned long value;
    bool killed = false;
    while (file && fscanf(file, "%63s %lu", name, &value) == 2)
        if (!strcmp(name, "oom_kill") && value > 0) killed = true;
    if (file) fclose(file);
    return killed;
}

static void write_record(const char *path, int code, int signal, const char *started, bool tolerate) {
    char temporary[4096], finished[32], name[512];
    make_folders(path);
    snprintf(temporary, sizeof temporary, "%s.part", path);
    FILE *file = fopen(temporary, "we");
    if (!file) {
        fprintf(stderr, "everloop: step %s: cannot write its record %s: %s\n", step, path,
                strerror(errno));
        return;
    }
    timestamp(finished, sizeof finished);
    escape(name, sizeof name - 1, step);
    fprintf(file, "{\"name\":\"%s\",\"exitCode\":%d,\"signal\":", name, code);
    fprintf(file, signal ? "%d" : "null", signal);
    fprintf(file, ",\"startedAt\":\"%s\",\"finishedAt\":\"%s\",\"tolerated\":%s,\"lastLines\":[",
            started, finished, tolerate && code ? "true" : "false");
    if (count) fputc('"', file);
    last_lines(file, RECORD_BYTES, "\",\"");
    if (count) fputc('"', file);
    fputs("]}\n", file);
    if (fclose(file) || rename(temporary, path))
        fprintf(stderr, "everloop: step %s: cannot write its record %s: %s\n", step, path,
                strerror(errno));
}

static void write_message(const char *path, const char *reason, int code, int signal) {
    FILE *file = fopen(path, "we");
    if (!file) return; /* not in a pod */
    fprintf(file, "{\"reason\":\"%s\",\"exitCode\":%d,\"signal\":", reason, code);
    fprintf(file, signal ? "%d" : "null", signal);
    fputs(",\"lastLines\":\"", file);
    last_lines(file, MESSAGE_BYTES, "\\n");
    fputs("\"}", file);
    fclose(file);
}

/* Copies what is there from a child's stream to ours and keeps its lines; false at its end. */
static bool pass_through(int from, int to, struct line *line) {
    static char bytes[CHUNK];
    ssize_t length = read(from, bytes, sizeof bytes);
    if (length <= 0) return length < 0 && (errno == EAGAIN || errno == EINTR);
    feed(line, bytes, (size_t)length);
    for (ssize_t done = 0; done < length;) {
        ssize_t written = write(to, bytes + done, (size_t)(length - done));
        if (written < 0 && errno != EINTR) break; /* nobody reads our output; the step goes on */
        if (written > 0) done += written;
    }
    return true;
}

/* Starts the command; its errno if it cannot be executed, else 0. */
static int start(char **command, const sigset_t *original, int streams[2], pid_t *child) {
    int out[2], err[2], failure[2], code = 0;
    if (pipe2(out, O_CLOEXEC) || pipe2(err, O_CLOEXEC) || pipe2(failure, O_CLOEXEC)) return errno;
    *child = fork();
    if (*child < 0) return errno;
    if (*child == 0) {
        dup2(out[1], STDOUT_FILENO);
        dup2(err[1], STDERR_FILENO);
        signal(SIGPIPE, SIG_DFL);
        sigprocmask(SIG_SETMASK, original, NULL);
        execvp(command[0], command);
        code = errno;
        _exit(write(failure[1], &code, sizeof code) == sizeof code ? 127 : 126);
    }
    close(out[1]), close(err[1]), close(failure[1]);
    streams[0] = out[0], streams[1] = err[0];
    if (read(failure[0], &code, sizeof code) != sizeof code) code = 0; /* closed by execvp */
    close(failure[0]);
    return code;
}

/* Passes output and signals through until the command has ended; its wait status. */
static int supervise(pid_t child, int signals, int streams[2]) {
    static struct line lines[2];
    struct pollfd polls[3] = {{streams[0], POLLIN, 0}, {streams[1], POLLIN, 0}, {signals, POLLIN, 0}};
    int status = 0;
    bool running = true;
    while (running) {
        if (poll(polls, 3, -1) < 0 && errno != EINTR) break;
        for (int i = 0; i < 2; i++)
            if (polls[i].revents && !pass_through(streams[i], i + 1, &lines[i])) polls[i].fd = -1;
        if (!(polls[2].revents & POLLIN)) continue;
        struct signalfd_siginfo info;
        if (read(signals, &info, sizeof info) != sizeof info) continue;
        if (info.ssi_signo != SIGCHLD) {
            kill(child, (int)info.ssi_signo);
            continue;
        }
        int ended;
        for (pid_t pid; (pid = waitpid(-1, &ended, WNOHANG)) > 0;) /* as PID 1 we inherit orphans */
            if (pid == child) status = ended, running = false;
    }
    for (int i = 0; i < 2; i++) { /* what it wrote last; orphans that hold the pipe do not delay us */
        fcntl(streams[i], F_SETFL, O_NONBLOCK);
        for (struct pollfd rest = {streams[i], POLLIN, 0};
             poll(&rest, 1, 0) > 0 && (rest.revents & POLLIN) && pass_through(streams[i], i + 1, &lines[i]);) {
        }
        finish(&lines[i]);
    }
    return status;
}

int main(int argc, char **argv) {
    const char *state = NULL, *message = "/dev/termination-log";
    bool tolerate = false;
    int at = 1;
    for (; at < argc && strcmp(argv[at], "--"); at++) {
        if (!strcmp(argv[at], "--tolerate")) tolerate = true;
        else if (!strcmp(argv[at], "--name") && at + 1 < argc) step = argv[++at];
        else if (!strcmp(argv[at], "--state") && at + 1 < argc) state = argv[++at];
        else if (!strcmp(argv[at], "--message") && at + 1 < argc) message = argv[++at];
        else break;
    }
    if (at + 1 >= argc || strcmp(argv[at], "--") || !state || !*step) {
        fputs("usage: shim --name STEP --state FILE [--tolerate] [--message FILE] -- COMMAND…\n", stderr);
        return 2;
    }
    char **command = argv + at + 1, started[32];
    timestamp(started, sizeof started);

    sigset_t wanted, original;
    sigemptyset(&wanted);
    int forwarded[] = {SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGCHLD};
    for (size_t i = 0; i < sizeof forwarded / sizeof *forwarded; i++) sigaddset(&wanted, forwarded[i]);
    sigprocmask(SIG_BLOCK, &wanted, &original);
    signal(SIGPIPE, SIG_IGN);

    pid_t child = -1;
    int streams[2] = {-1, -1}, code, killed_by = 0;
    const char *reason = "Error";
    int problem = start(command, &original, streams, &child);
    if (problem) {
        char text[LINE_BYTES];
        snprintf(text, sizeof text,
                 "everloop: step %s: cannot run \"%s\": %s; write a command that exists in the step's image",
                 step, command[0], strerror(problem));
        fprintf(stderr, "%s\n", text);
        keep(text, strlen(text));
        code = problem == ENOENT || problem == ENOTDIR ? 127 : 126;
        reason = "CannotRun";
    } else {
        int status = supervise(child, signalfd(-1, &wanted, SFD_CLOEXEC), streams);
        killed_by = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
        code = killed_by ? 128 + killed_by : WEXITSTATUS(status);
        if (killed_by == SIGKILL && out_of_memory()) reason = "OOMKilled";
    }
    write_record(state, code, killed_by, started, tolerate);
    if (tolerate) return 0;
    if (code) write_message(message, reason, code, killed_by);
    return code;
}
