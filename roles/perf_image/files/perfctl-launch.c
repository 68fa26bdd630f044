/* perfctl-launch COMMAND [ARGUMENT...]: run a command, then say on standard error what it has used.
 *
 * Two lines, the last that are written there (docs/jobs.md):
 *
 *     perfctl-task NAME:VALUE;...;label:LABEL
 *     perfctl-usage USER_US SYSTEM_US MAX_RSS_KIB MINOR_FAULTS MAJOR_FAULTS VOLUNTARY_SWITCHES INVOLUNTARY_SWITCHES WALL_US
 *
 * The first is /proc/self/status and /proc/self/attr/current of this program: what the kernel allows it is what it
 * allowed the command, which it started. It is read when the command has ended.
 *
 * The second is of the command and of those of its descendants that it waited for, as wait4 says it, and how long it took
 * from just before it was made until its end was known. A process begins with the
 * size of who started it, so this program is as small as one can be: no C library, a few pages. It exits as the command
 * did, with 128 + n where signal n ended it, 127 where there is no such program, 126 where it cannot be run; with the
 * last two it writes no line, for nothing may have run.
 *
 * Compiled as the image is made (Dockerfile.perf), by gcc or tcc, on x86-64 and 64-bit ARM.
 */

#ifdef __x86_64__
enum { READ = 0, WRITE = 1, CLOSE = 3, SIGACTION = 13, SIGPROCMASK = 14, CLONE = 56, EXECVE = 59, WAIT4 = 61, GETPID = 39,
       SETPGID = 109, GETPGID = 121, CLOCK_GETTIME = 228, EXIT = 231, OPENAT = 257, PPOLL = 271 };
__asm__(".globl _start\n_start:\n mov %rsp, %rdi\n and $-16, %rsp\n call begin\n");

static long call(long number, long a, long b, long c, long d)
{
    long result;
    __asm__ volatile("mov %5, %%r10\n xor %%r8d, %%r8d\n syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "g"(d)
                     : "r8", "r10", "r11", "rcx", "memory");
    return result;
}
#elif defined(__aarch64__)
enum { OPENAT = 56, CLOSE = 57, READ = 63, WRITE = 64, SIGACTION = 134, SIGPROCMASK = 135, CLONE = 220, EXECVE = 221,
       WAIT4 = 260, GETPID = 172, SETPGID = 154, GETPGID = 155, CLOCK_GETTIME = 113, EXIT = 94, PPOLL = 73 };
__asm__(".globl _start\n_start:\n mov x0, sp\n bl begin\n");

static long call(long number, long a, long b, long c, long d)
{
    register long x8 __asm__("x8") = number, x0 __asm__("x0") = a, x1 __asm__("x1") = b, x2 __asm__("x2") = c,
                  x3 __asm__("x3") = d, x4 __asm__("x4") = 0;
    __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4) : "memory");
    return x0;
}
#else
#error "not written for this machine"
#endif

enum { ENOENT = 2, ENOEXEC = 8, EAGAIN = 11, EACCES = 13, ENOTDIR = 20, SIGCHLD = 17, POLLOUT = 4, BLOCK = 0, SET = 2,
       SIGSET_BYTES = 8, LONGEST_PATH = 4096, MONOTONIC = 1, CURRENT_FOLDER = -100, LONGEST_FILE = 8192, ROOM = 1024 };

static char line[LONGEST_FILE + ROOM];
static int length;

static void add(const char *text)
{
    while (*text && length < (int)sizeof line - 1)
        line[length++] = *text++;
}

static void add_number(unsigned long number)
{
    char digits[24];
    int at = sizeof digits - 1;
    digits[at] = 0;
    do
        digits[--at] = '0' + number % 10;
    while (number /= 10);
    add(" ");
    add(digits + at);
}

/* Add a file's text, with ';' for line ends; what is beyond `room` bytes of the line is left out. */
static void add_file(const char *path, int room)
{
    long file = call(OPENAT, CURRENT_FOLDER, (long)path, 0, 0), size = 1;
    int start = length;
    if (file < 0)
        return;
    while (length < room && (size = call(READ, file, (long)(line + length), room - length, 0)) > 0)
        length += size;
    call(CLOSE, file, 0, 0, 0);
    for (; start < length; start++)
        if (line[start] == '\n' || !line[start])
            line[start] = ';';
}

/* Also where the command has made standard error one that does not wait. */
static void write_line(void)
{
    /* struct pollfd: standard error, and what is waited for. */
    static int files[2] = {2, POLLOUT};
    char *rest = line;
    while (length > 0) {
        long written = call(WRITE, 2, (long)rest, length, 0);
        if (written == -EAGAIN)
            written = call(PPOLL, (long)files, 1, 0, 0) < 0 ? -1 : 0;
        if (written < 0)
            return;
        rest += written;
        length -= written;
    }
}

/* Run a file; a script that does not say by what it is run is run by sh, as execvp has it. argv[-1] is ours. */
static long run(char *path, char **argv, char **environment)
{
    long error = call(EXECVE, (long)path, (long)argv, (long)environment, 0);
    if (error != -ENOEXEC)
        return error;
    argv[-1] = "/bin/sh";
    argv[0] = path;
    return call(EXECVE, (long)"/bin/sh", (long)(argv - 1), (long)environment, 0);
}

/* Return the error with which it cannot be run: of the file that was there and refused, if one was. */
static long search(char **argv, char **environment)
{
    static char path[LONGEST_PATH];
    char *folder = "/usr/local/bin:/bin:/usr/bin", *name = argv[0];
    long error = -ENOENT;
    for (char *byte = name; *byte; byte++)
        if (*byte == '/')
            return run(name, argv, environment);
    for (char **variable = environment; *variable; variable++)
        if ((*variable)[0] == 'P' && (*variable)[1] == 'A' && (*variable)[2] == 'T' && (*variable)[3] == 'H' &&
            (*variable)[4] == '=')
            folder = *variable + 5;
    for (int is_last = !*name; !is_last; folder++) {
        int size = 0;
        long found;
        while (*folder && *folder != ':' && size < LONGEST_PATH - 2)
            path[size++] = *folder++;
        while (*folder && *folder != ':')
            folder++;
        if (size)
            path[size++] = '/';
        for (char *byte = name; *byte && size < LONGEST_PATH - 1; byte++)
            path[size++] = *byte;
        path[size] = 0;
        is_last = !*folder;
        found = run(path, argv, environment);
        if (found != -ENOENT && found != -ENOTDIR && (error == -ENOENT || found != -EACCES))
            error = found;
    }
    return error;
}

void begin(long *stack)
{
    char **argv = (char **)(stack + 2), **environment = (char **)(stack + 2 + stack[0]);
    static long by_default[4];
    long all = -1, mask = 0, action[4], usage[18], began[2], ended[2], child;
    int status = 0, is_leader = call(GETPGID, 0, 0, 0, 0) == call(GETPID, 0, 0, 0, 0);
    if (stack[0] < 2)
        call(EXIT, 126, 0, 0, 0);
    /* What is sent to the group is for the command: whoever ends it gets its exit code from here. */
    call(SIGPROCMASK, BLOCK, (long)&all, (long)&mask, SIGSET_BYTES);
    call(SIGACTION, SIGCHLD, (long)by_default, (long)action, SIGSET_BYTES);
    call(CLOCK_GETTIME, MONOTONIC, (long)began, 0, 0);
    child = call(CLONE, SIGCHLD, 0, 0, 0);
    if (child == 0) {
        long error;
        /* Whoever leads a group by what started us leads one. */
        if (is_leader)
            call(SETPGID, 0, 0, 0, 0);
        call(SIGACTION, SIGCHLD, (long)action, 0, SIGSET_BYTES);
        call(SIGPROCMASK, SET, (long)&mask, 0, SIGSET_BYTES);
        error = search(argv, environment);
        add(argv[0]);
        add(error == -ENOENT   ? ": No such file or directory"
            : error == -EACCES ? ": Permission denied"
                               : ": cannot be run");
        add("\n");
        write_line();
        call(EXIT, error == -ENOENT ? 127 : 126, 0, 0, 0);
    }
    if (child < 0 || call(WAIT4, child, (long)&status, 0, (long)usage) != child)
        call(EXIT, 126, 0, 0, 0);
    call(CLOCK_GETTIME, MONOTONIC, (long)ended, 0, 0);
    status = status & 127 ? 128 + (status & 127) : status >> 8 & 255;
    if (status != 126 && status != 127) {
        add("perfctl-task ");
        add_file("/proc/self/status", LONGEST_FILE);
        add("label:");
        add_file("/proc/self/attr/current", sizeof line - ROOM / 2);
        add("\n");
        /* struct rusage: user and system time in seconds and microseconds, then fourteen numbers. */
        add("perfctl-usage");
        add_number(usage[0] * 1000000 + usage[1]);
        add_number(usage[2] * 1000000 + usage[3]);
        add_number(usage[4]);
        add_number(usage[8]);
        add_number(usage[9]);
        add_number(usage[16]);
        add_number(usage[17]);
        add_number((ended[0] - began[0]) * 1000000 + (ended[1] - began[1]) / 1000);
        add("\n");
        write_line();
    }
    call(EXIT, status, 0, 0, 0);
}
