/* perfctl-measure: what calls of the kernel cost, how fast memory is read and written, and how long it takes to answer.
 *
 *     perfctl-measure syscalls NAME BATCHES BATCH_US
 *     perfctl-measure stream WORKERS ARRAY_BYTES REPETITIONS CACHE_FOLDER
 *     perfctl-measure latency WORKING_SET_BYTES PAGES BATCHES BATCH_US
 *     perfctl-measure --version
 *
 * Reports are lines NAME: VALUE, of whole nanoseconds and bytes; `elapsed` is the last one (docs/workloads.md). It exits with
 * 1 where something failed, after one line on standard error; with 2 where it was called in a wrong way.
 *
 * No C library: the same small file runs on the host, in containers and in guests, and its loops are all that there is.
 * Compiled as the image is made (Dockerfile.perf), by gcc or tcc, on x86-64 and 64-bit ARM.
 */

typedef unsigned long size;

/* ---- the kernel ------------------------------------------------------------------------------------------------ */

#ifdef __x86_64__
enum { READ = 0, WRITE = 1, CLOSE = 3, MMAP = 9, MUNMAP = 11, SIGACTION = 13, SCHED_YIELD = 24, MADVISE = 28, GETPID = 39,
       SOCKETPAIR = 53, CLONE = 56, EXECVE = 59, WAIT4 = 61, KILL = 62, FUTEX = 202, SETAFFINITY = 203, GETAFFINITY = 204,
       CLOCK_GETTIME = 228, EXIT = 231, OPENAT = 257, FSTATAT = 262, PIPE2 = 293, PRCTL = 157 };
#define VDSO_CLOCK "__vdso_clock_gettime"
__asm__(".globl _start\n_start:\n mov %rsp, %rdi\n and $-16, %rsp\n call begin\n"
        ".globl return_from_signal\nreturn_from_signal:\n mov $15, %eax\n syscall\n");
void return_from_signal(void);

static long call(long number, long a, long b, long c, long d, long e, long f)
{
    long result;
    __asm__ volatile("mov %5, %%r10\n mov %6, %%r8\n mov %7, %%r9\n syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "m"(d), "m"(e), "m"(f)
                     : "r8", "r9", "r10", "r11", "rcx", "memory");
    return result;
}

/* Add one, and return what it is then. */
static int count_up(volatile int *number)
{
    int before = 1;
    __asm__ volatile("lock xaddl %0, %1" : "+r"(before), "+m"(*number) : : "memory");
    return before + 1;
}
#elif defined(__aarch64__)
enum { READ = 63, WRITE = 64, CLOSE = 57, MMAP = 222, MUNMAP = 215, SIGACTION = 134, SCHED_YIELD = 124, MADVISE = 233,
       GETPID = 172, SOCKETPAIR = 199, CLONE = 220, EXECVE = 221, WAIT4 = 260, KILL = 129, FUTEX = 98, SETAFFINITY = 122,
       GETAFFINITY = 123, CLOCK_GETTIME = 113, EXIT = 94, OPENAT = 56, FSTATAT = 79, PIPE2 = 59, PRCTL = 167 };
#define VDSO_CLOCK "__kernel_clock_gettime"
__asm__(".globl _start\n_start:\n mov x0, sp\n bl begin\n");

static long call(long number, long a, long b, long c, long d, long e, long f)
{
    register long x8 __asm__("x8") = number, x0 __asm__("x0") = a, x1 __asm__("x1") = b, x2 __asm__("x2") = c,
                  x3 __asm__("x3") = d, x4 __asm__("x4") = e, x5 __asm__("x5") = f;
    __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory");
    return x0;
}

static int count_up(volatile int *number)
{
    return __atomic_add_fetch(number, 1, __ATOMIC_SEQ_CST);
}
#else
#error "not written for this machine"
#endif

enum { NOW_HERE = -100, READ_WRITE = 3, PRIVATE_MEMORY = 0x22, SHARED_MEMORY = 0x21, SIGKILL = 9, SIGUSR1 = 10, SIGCHLD = 17,
       ADVICE_DROP = 4, ADVICE_HUGE = 14, ADVICE_SMALL = 15, FUTEX_WAIT = 0, FUTEX_WAKE = 1, END_WITH_PARENT = 1,
       MONOTONIC = 1, LONGEST_BATCHES = 1000, PAGE = 4096 };

/* ---- text ------------------------------------------------------------------------------------------------------- */

static char text[1 << 17];
static int length;

static void add(const char *more)
{
    while (*more && length < (int)sizeof text - 1)
        text[length++] = *more++;
}

static void add_number(size number)
{
    char digits[24];
    int at = sizeof digits - 1;
    digits[at] = 0;
    do
        digits[--at] = '0' + number % 10;
    while (number /= 10);
    add(digits + at);
}

static void add_line(const char *name, size number, const char *unit)
{
    add(name);
    add(": ");
    add_number(number);
    add(unit);
    add("\n");
}

static void print(int file)
{
    char *rest = text;
    while (length > 0) {
        long written = call(WRITE, file, (long)rest, length, 0, 0, 0);
        if (written <= 0)
            break;
        rest += written;
        length -= written;
    }
    length = 0;
}

static void end(int code)
{
    for (;;)
        call(EXIT, code, 0, 0, 0, 0, 0);
}

/* End with a line on standard error: what failed, and the kernel's number of the error where there is one. */
static void fail(const char *what, long error)
{
    length = 0;
    add("perfctl-measure: error: ");
    add(what);
    if (error < 0) {
        add(", errno ");
        add_number(-error);
    }
    add("\n");
    print(2);
    end(1);
}

static int is_same(const char *one, const char *other)
{
    while (*one && *one == *other)
        one++, other++;
    return *one == *other;
}

static size to_number(const char *digits)
{
    size number = 0;
    if (!*digits)
        end(2);
    for (; *digits; digits++) {
        if (*digits < '0' || *digits > '9' || number > (1UL << 59))
            end(2);
        number = number * 10 + (*digits - '0');
    }
    return number;
}

/* ---- time and memory -------------------------------------------------------------------------------------------- */

struct time {
    long s, ns;
};

static long (*vdso_clock)(long clock, struct time *now);

static size now_ns(void)
{
    struct time now;
    if (!vdso_clock || vdso_clock(MONOTONIC, &now))
        call(CLOCK_GETTIME, MONOTONIC, (long)&now, 0, 0, 0, 0);
    return now.s * 1000000000UL + now.ns;
}

struct program_header {
    unsigned type, flags;
    size offset, address, physical, in_file, in_memory, align;
};
struct dynamic {
    size tag, value;
};
struct symbol {
    unsigned name;
    unsigned char info, other;
    unsigned short section;
    size value, bytes;
};

/* Find the kernel's own clock function, by which a C library asks without a call; the symbols end where the names begin. */
static void find_vdso(char *image)
{
    struct program_header *headers = (struct program_header *)(image + *(size *)(image + 32));
    struct dynamic *entries = 0;
    struct symbol *symbols = 0;
    char *names = 0, *loaded = 0;
    int count = *(unsigned short *)(image + 56), i;
    for (i = 0; i < count; i++) {
        if (headers[i].type == 1 && !loaded)
            loaded = image + headers[i].offset - headers[i].address;
        if (headers[i].type == 2)
            entries = (struct dynamic *)(image + headers[i].offset);
    }
    for (; loaded && entries && entries->tag; entries++) {
        if (entries->tag == 5)
            names = loaded + entries->value;
        if (entries->tag == 6)
            symbols = (struct symbol *)(loaded + entries->value);
    }
    for (; symbols && (char *)(symbols + 1) <= names; symbols++)
        if (symbols->section && is_same(names + symbols->name, VDSO_CLOCK))
            vdso_clock = (long (*)(long, struct time *))(loaded + symbols->value);
}

static void *memory(size bytes, long kind)
{
    long at = call(MMAP, 0, bytes, READ_WRITE, kind, -1, 0);
    if (at < 0 && at > -4096)
        fail("there is not enough memory", at);
    return (void *)at;
}

static long start_process(void)
{
    long child = call(CLONE, SIGCHLD, 0, 0, 0, 0, 0);
    if (child < 0)
        fail("no process could be started", child);
    if (child == 0)
        call(PRCTL, END_WITH_PARENT, SIGKILL, 0, 0, 0, 0);
    return child;
}

/* ---- syscalls --------------------------------------------------------------------------------------------------- */

static const char *operation;
static char *program_path, **program_environment;
static int input, output, to_child, from_child;
static char *faulting, *fault_at;
static volatile int *turn;
static volatile long signals;
enum { FAULTS = 1024 };

static void need(long result)
{
    if (result < 0)
        fail(operation, result);
}

static void do_nothing(void) { __asm__ volatile("" ::: "memory"); }
static void do_getpid(void) { call(GETPID, 0, 0, 0, 0, 0, 0); }

static void do_read(void)
{
    char byte;
    need(call(READ, input, (long)&byte, 1, 0, 0, 0));
}

static void do_write(void) { need(call(WRITE, output, (long)"x", 1, 0, 0, 0)); }

static void do_open(void)
{
    long file = call(OPENAT, NOW_HERE, (long)"/dev/null", 0, 0, 0, 0);
    need(file);
    call(CLOSE, file, 0, 0, 0, 0, 0);
}

static void do_stat(void)
{
    char about[256];
    need(call(FSTATAT, NOW_HERE, (long)"/dev/null", (long)about, 0, 0, 0));
}

static void do_mmap(void)
{
    long at = call(MMAP, 0, PAGE, READ_WRITE, PRIVATE_MEMORY, -1, 0);
    if (at < 0 && at > -4096)
        need(at);
    need(call(MUNMAP, at, PAGE, 0, 0, 0, 0));
}

/* Every 1,024 faults all pages are given back, in one call. */
static void do_fault(void)
{
    if (fault_at == faulting + FAULTS * PAGE) {
        need(call(MADVISE, (long)faulting, FAULTS * PAGE, ADVICE_DROP, 0, 0, 0));
        fault_at = faulting;
    }
    *(volatile char *)fault_at = 1;
    fault_at += PAGE;
}

static void wait_for(long child)
{
    int status;
    need(call(WAIT4, child, (long)&status, 0, 0, 0, 0));
    if (status)
        fail(operation, 0);
}

static void do_fork(void)
{
    long child = call(CLONE, SIGCHLD, 0, 0, 0, 0, 0);
    if (child == 0)
        end(0);
    need(child);
    wait_for(child);
}

static void do_exec(void)
{
    long child = call(CLONE, SIGCHLD, 0, 0, 0, 0, 0);
    if (child == 0) {
        char *argv[3];
        argv[0] = program_path;
        argv[1] = "--exit";
        argv[2] = 0;
        call(EXECVE, (long)program_path, (long)argv, (long)program_environment, 0, 0, 0);
        end(1);
    }
    need(child);
    wait_for(child);
}

static void do_signal(void) { need(call(KILL, call(GETPID, 0, 0, 0, 0, 0, 0), SIGUSR1, 0, 0, 0, 0)); }
static void on_signal(int number) { signals += number == SIGUSR1; }

static void do_clock(void)
{
    struct time now;
    if (!vdso_clock || vdso_clock(MONOTONIC, &now))
        call(CLOCK_GETTIME, MONOTONIC, (long)&now, 0, 0, 0, 0);
}

static void do_clock_call(void)
{
    struct time now;
    need(call(CLOCK_GETTIME, MONOTONIC, (long)&now, 0, 0, 0, 0));
}

/* A byte to the other process and one back. */
static void do_round_trip(void)
{
    char byte;
    need(call(WRITE, to_child, (long)"x", 1, 0, 0, 0));
    if (call(READ, from_child, (long)&byte, 1, 0, 0, 0) != 1)
        fail(operation, 0);
}

/* The turn goes to the other process and comes back. */
static void take_turns(int mine, int theirs)
{
    *turn = theirs;
    need(call(FUTEX, (long)turn, FUTEX_WAKE, 1, 0, 0, 0));
    while (*turn != mine)
        call(FUTEX, (long)turn, FUTEX_WAIT, theirs, 0, 0, 0);
}

static void do_futex(void) { take_turns(0, 1); }

/* Both processes of a pair stay on the first CPU that is allowed: each round trip is then two switches between them. */
static void stay_on_one_cpu(void)
{
    static unsigned char allowed[1024], one[1024];
    long bytes = call(GETAFFINITY, 0, sizeof allowed, (long)allowed, 0, 0, 0), i;
    for (i = 0; i < bytes; i++)
        if (allowed[i]) {
            one[i] = allowed[i] & -allowed[i];
            need(call(SETAFFINITY, 0, bytes, (long)one, 0, 0, 0));
            return;
        }
}

static void answer_bytes(int from, int to)
{
    char byte;
    while (call(READ, from, (long)&byte, 1, 0, 0, 0) == 1)
        call(WRITE, to, (long)&byte, 1, 0, 0, 0);
    end(0);
}

static void prepare_pipes(void)
{
    int there[2], back[2];
    need(call(PIPE2, (long)there, 0, 0, 0, 0, 0));
    need(call(PIPE2, (long)back, 0, 0, 0, 0, 0));
    stay_on_one_cpu();
    if (start_process() == 0) {
        call(CLOSE, there[1], 0, 0, 0, 0, 0);
        answer_bytes(there[0], back[1]);
    }
    to_child = there[1], from_child = back[0];
}

static void prepare_sockets(void)
{
    int both[2];
    need(call(SOCKETPAIR, 1, 1, 0, (long)both, 0, 0));
    stay_on_one_cpu();
    if (start_process() == 0) {
        call(CLOSE, both[0], 0, 0, 0, 0, 0);
        answer_bytes(both[1], both[1]);
    }
    to_child = from_child = both[0];
}

static void prepare_turns(void)
{
    turn = memory(PAGE, SHARED_MEMORY);
    stay_on_one_cpu();
    if (start_process() == 0) {
        while (*turn != 1)
            call(FUTEX, (long)turn, FUTEX_WAIT, 0, 0, 0, 0);
        for (;;)
            take_turns(1, 0);
    }
}

static void prepare_files(void)
{
    input = call(OPENAT, NOW_HERE, (long)"/dev/zero", 0, 0, 0, 0);
    output = call(OPENAT, NOW_HERE, (long)"/dev/null", 1, 0, 0, 0);
    need(input);
    need(output);
}

static void prepare_faults(void)
{
    faulting = fault_at = memory(FAULTS * PAGE, PRIVATE_MEMORY);
    /* One page for one fault. A kernel without large pages does not know this. */
    call(MADVISE, (long)faulting, FAULTS * PAGE, ADVICE_SMALL, 0, 0, 0);
}

static void prepare_signal(void)
{
    /* struct kernel_sigaction: handler, flags, restorer, mask. */
    static long action[4];
    action[0] = (long)on_signal;
#ifdef __x86_64__
    action[1] = 0x04000000;
    action[2] = (long)return_from_signal;
#endif
    need(call(SIGACTION, SIGUSR1, (long)action, 0, 8, 0, 0));
}

static const struct {
    const char *name;
    void (*run)(void), (*prepare)(void);
} operations[] = {
    {"getpid", do_getpid, 0},
    {"read-byte", do_read, prepare_files},
    {"write-byte", do_write, prepare_files},
    {"open-close", do_open, 0},
    {"stat", do_stat, 0},
    {"mmap-munmap", do_mmap, 0},
    {"page-fault", do_fault, prepare_faults},
    {"fork-exit", do_fork, 0},
    {"fork-exec", do_exec, 0},
    {"signal", do_signal, prepare_signal},
    {"pipe", do_round_trip, prepare_pipes},
    {"socketpair", do_round_trip, prepare_sockets},
    {"futex", do_futex, prepare_turns},
    {"clock-vdso", do_clock, 0},
    {"clock-syscall", do_clock_call, 0},
};

/* Return how long so many calls take. The pointer may change, as far as the compiler knows, so that it is called each time. */
static size time_of(void (*run)(void), size calls)
{
    void (*volatile called)(void) = run;
    size began = now_ns(), i;
    for (i = 0; i < calls; i++)
        called();
    return now_ns() - began;
}

/* Return how many steps fill a batch, by trying twice as many until a quarter of it is full. The shortest of some tries
 * counts: others may have the CPU meanwhile. */
static size steps_of_batch(size (*time_of_steps)(size steps), size batch_ns)
{
    size steps = 1, took, again;
    int tries;
    for (;; steps *= 2) {
        took = time_of_steps(steps);
        for (tries = 0; tries < 4 && took >= batch_ns / 4; tries++)
            if ((again = time_of_steps(steps)) < took)
                took = again;
        if (took >= batch_ns / 4)
            break;
    }
    /* Through signed numbers, which tcc converts without a library. */
    steps = (long)((double)(long)steps * (double)(long)batch_ns / (double)(long)(took ? took : 1));
    return steps ? steps : 1;
}

static void (*running)(void);
static size time_of_running(size calls) { return time_of(running, calls); }

static size times[LONGEST_BATCHES], loops[LONGEST_BATCHES];

static void add_batches(size batches, int with_loops)
{
    size i;
    for (i = 0; i < batches; i++) {
        add("batch ");
        add_number(i + 1);
        add(": ");
        add_number(times[i]);
        add(" ns");
        if (with_loops) {
            add(", an empty loop ");
            add_number(loops[i]);
            add(" ns");
        }
        add("\n");
    }
}

static int measure_calls(const char *name, size batches, size batch_ns)
{
    size i, calls, began, elapsed;
    int known = sizeof operations / sizeof *operations, at = 0;
    while (at < known && !is_same(operations[at].name, name))
        at++;
    if (at == known || !batches || batches > LONGEST_BATCHES || !batch_ns)
        return 2;
    operation = name;
    if (operations[at].prepare)
        operations[at].prepare();
    running = operations[at].run;
    calls = steps_of_batch(time_of_running, batch_ns);
    signals = 0;
    began = now_ns();
    for (i = 0; i < batches; i++) {
        loops[i] = time_of(do_nothing, calls);
        times[i] = time_of(running, calls);
    }
    elapsed = now_ns() - began;
    if (running == do_signal && signals != (long)(calls * batches))
        fail("signals were lost", 0);
    add("perfctl-measure syscalls: ");
    add(name);
    add("\nvdso: ");
    add(vdso_clock ? "yes\n" : "no\n");
    add_line("batches", batches, "");
    add_line("calls per batch", calls, "");
    add_batches(batches, 1);
    add_line("elapsed", elapsed, " ns");
    print(1);
    return 0;
}

/* ---- stream ------------------------------------------------------------------------------------------------------ */

enum { KERNELS = 4, MOST_WORKERS = 1024 };
static const char *const kernel_names[] = {"copy", "scale", "add", "triad"};
static const int kernel_arrays[] = {2, 2, 3, 3};

struct shared {
    volatile int arrived, round, failed;
};
static struct shared *common;

/* Wait until all workers are here. They are many on few CPUs at times: who waits lets others go first. */
static void meet(int workers)
{
    int round = common->round;
    if (count_up(&common->arrived) == workers) {
        common->arrived = 0;
        count_up(&common->round);
    }
    while (common->round == round)
        call(SCHED_YIELD, 0, 0, 0, 0, 0, 0);
}

static void run_kernel(int kernel, double *restrict a, double *restrict b, double *restrict c, size n)
{
    size i;
    if (kernel == 0)
        for (i = 0; i < n; i++)
            c[i] = a[i];
    else if (kernel == 1)
        for (i = 0; i < n; i++)
            b[i] = 3.0 * c[i];
    else if (kernel == 2)
        for (i = 0; i < n; i++)
            c[i] = a[i] + b[i];
    else
        for (i = 0; i < n; i++)
            a[i] = b[i] + 3.0 * c[i];
}

/* Return whether the arrays have what so many repetitions make of 1, 2 and 0. */
static int is_right(const double *a, const double *b, const double *c, size n, size repetitions)
{
    double x = 1, y = 2, z = 0;
    size i;
    for (i = 0; i < repetitions; i++)
        z = x, y = 3.0 * z, z = x + y, x = y + 3.0 * z;
    for (i = 0; i < n; i++) {
        double off = (a[i] - x) / x + (b[i] - y) / y + (c[i] - z) / z;
        if (!(off < 1e-12 && off > -1e-12))
            return 0;
    }
    return 1;
}

/* Return the bytes of the largest cache of the folder, which has index0/size and so on ('32768K'); 0: not known. */
static size largest_cache(const char *folder)
{
    static char path[512], read[32];
    size largest = 0;
    int index;
    for (index = 0; index < 10; index++) {
        size bytes = 0;
        const char *from = folder, *tail = "/index0/size";
        int at = 0;
        long file, got, i;
        while (*from && at < (int)sizeof path - 20)
            path[at++] = *from++;
        while (*tail)
            path[at++] = *tail == '0' ? '0' + index : *tail, tail++;
        path[at] = 0;
        file = call(OPENAT, NOW_HERE, (long)path, 0, 0, 0, 0);
        if (file < 0)
            continue;
        got = call(READ, file, (long)read, sizeof read, 0, 0, 0);
        call(CLOSE, file, 0, 0, 0, 0, 0);
        for (i = 0; i < got && read[i] >= '0' && read[i] <= '9'; i++)
            bytes = bytes * 10 + (read[i] - '0');
        if (i < got && (read[i] == 'K' || read[i] == 'M'))
            bytes *= read[i] == 'K' ? 1 << 10 : 1 << 20;
        if (bytes > largest)
            largest = bytes;
    }
    return largest;
}

static int measure_stream(size workers, size array_bytes, size repetitions, const char *folder)
{
    size cache = largest_cache(folder), n, i, began = 0, elapsed, took;
    double *a, *b, *c;
    size *found;
    int worker = 0, kernel;
    if (!workers || workers > MOST_WORKERS || !repetitions || repetitions > LONGEST_BATCHES)
        return 2;
    if (!cache && !array_bytes)
        fail("the size of the last-level cache is not known here, so array_bytes must say how large the arrays are", 0);
    if (!array_bytes)
        array_bytes = 4 * cache;
    n = array_bytes / sizeof(double) / workers;
    array_bytes = n * workers * sizeof(double);
    if (!n || array_bytes / 4 * 4 + 4 * sizeof(double) * workers < 4 * cache) {
        add("perfctl-measure: error: an array of ");
        add_number(array_bytes);
        add(" bytes is less than four times the last-level cache of ");
        add_number(cache);
        add(" bytes, and that would be measured: raise array_bytes\n");
        print(2);
        end(1);
    }
    common = memory(PAGE, SHARED_MEMORY);
    found = memory((repetitions + 1) * KERNELS * sizeof *found, PRIVATE_MEMORY);
    for (i = 1; i < workers && !worker; i++)
        if (start_process() == 0)
            worker = i;
    /* Each worker's share of the arrays is its own, and first touched by itself. */
    a = memory(n * sizeof *a, PRIVATE_MEMORY);
    b = memory(n * sizeof *b, PRIVATE_MEMORY);
    c = memory(n * sizeof *c, PRIVATE_MEMORY);
    for (i = 0; i < n; i++)
        a[i] = 1, b[i] = 2, c[i] = 0;
    /* The first repetition is not counted. */
    for (i = 0; i <= repetitions; i++)
        for (kernel = 0; kernel < KERNELS; kernel++) {
            meet(workers);
            took = now_ns();
            if (i == 1 && kernel == 0)
                began = took;
            run_kernel(kernel, a, b, c, n);
            meet(workers);
            found[i * KERNELS + kernel] = now_ns() - took;
        }
    elapsed = now_ns() - began;
    if (!is_right(a, b, c, n, repetitions + 1))
        common->failed = 1;
    meet(workers);
    if (worker)
        end(0);
    if (common->failed)
        fail("the arrays have wrong values", 0);
    add("perfctl-measure stream: ");
    add_number(workers);
    add(" workers\n");
    add_line("array", array_bytes, " bytes");
    add_line("last-level cache", cache, " bytes");
    add_line("repetitions", repetitions, "");
    for (kernel = 0; kernel < KERNELS; kernel++) {
        add(kernel_names[kernel]);
        add_line(" moves", kernel_arrays[kernel] * array_bytes, " bytes");
        for (i = 1; i <= repetitions; i++) {
            add(kernel_names[kernel]);
            add(" ");
            add_number(i);
            add_line("", found[i * KERNELS + kernel], " ns");
        }
    }
    add_line("elapsed", elapsed, " ns");
    print(1);
    return 0;
}

/* ---- latency ----------------------------------------------------------------------------------------------------- */

enum { LINE = 64, HUGE_PAGE = 1 << 21 };

static void **place;

static size time_of_chase(size steps)
{
    void **at = place;
    size began = now_ns(), i;
    for (i = 0; i < steps; i++)
        at = *at;
    began = now_ns() - began;
    place = at;
    return began;
}

/* Return the bytes of this process that are in huge pages; the kernel says so in KiB. */
static size bytes_in_huge_pages(void)
{
    static char about[4096];
    const char *name = "AnonHugePages:";
    long file = call(OPENAT, NOW_HERE, (long)"/proc/self/smaps_rollup", 0, 0, 0, 0), got, i, at;
    size kib = 0;
    if (file < 0)
        fail("the kernel does not say which pages are huge", file);
    got = call(READ, file, (long)about, sizeof about - 1, 0, 0, 0);
    call(CLOSE, file, 0, 0, 0, 0, 0);
    for (i = 0; i < got; i++) {
        for (at = 0; name[at] && about[i + at] == name[at]; at++)
            ;
        if (name[at])
            continue;
        for (i += at; about[i] == ' '; i++)
            ;
        for (; about[i] >= '0' && about[i] <= '9'; i++)
            kib = kib * 10 + (about[i] - '0');
        break;
    }
    return kib << 10;
}

static size random_state = 88172645463325252UL;

static size random_below(size limit)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state % limit;
}

/* Walk through all lines of a working set in one circle of random order, each step waiting for the one before. */
static int measure_latency(size bytes, const char *pages, size batches, size batch_ns)
{
    int is_huge = is_same(pages, "huge");
    size lines = bytes / LINE, in_huge_pages = 0, i, steps, began, elapsed;
    unsigned *order;
    char *lowest;
    if (lines < 2 || lines > (1UL << 31) || !batches || batches > LONGEST_BATCHES || !batch_ns ||
        (!is_huge && !is_same(pages, "small")))
        return 2;
    lowest = memory(bytes + HUGE_PAGE, PRIVATE_MEMORY);
    lowest += -(size)lowest % HUGE_PAGE;
    i = call(MADVISE, (long)lowest, bytes, is_huge ? ADVICE_HUGE : ADVICE_SMALL, 0, 0, 0);
    if (is_huge && (long)i < 0)
        fail("the kernel gives no huge pages", (long)i);
    order = memory(lines * sizeof *order, PRIVATE_MEMORY);
    for (i = 0; i < lines; i++)
        order[i] = i;
    for (i = lines - 1; i > 0; i--) {
        size other = random_below(i + 1);
        unsigned kept = order[i];
        order[i] = order[other], order[other] = kept;
    }
    for (i = 0; i < lines; i++)
        *(void **)(lowest + (size)order[i] * LINE) = lowest + (size)order[(i + 1) % lines] * LINE;
    call(MUNMAP, (long)order, lines * sizeof *order, 0, 0, 0, 0);
    if (is_huge) {
        in_huge_pages = bytes_in_huge_pages();
        if (in_huge_pages < bytes / 2)
            fail("the kernel gives no huge pages", 0);
    }
    place = (void **)lowest;
    /* Once around, so that all of it is where it will be. */
    time_of_chase(lines);
    steps = steps_of_batch(time_of_chase, batch_ns);
    began = now_ns();
    for (i = 0; i < batches; i++)
        times[i] = time_of_chase(steps);
    elapsed = now_ns() - began;
    if (!place)
        fail("the circle is broken", 0);
    add("perfctl-measure latency: ");
    add(pages);
    add(" pages\n");
    add_line("working set", bytes, " bytes");
    add_line("in huge pages", in_huge_pages, " bytes");
    add_line("batches", batches, "");
    add_line("steps per batch", steps, "");
    add_batches(batches, 0);
    add_line("elapsed", elapsed, " ns");
    print(1);
    return 0;
}

/* ------------------------------------------------------------------------------------------------------------------ */

void begin(long *stack)
{
    long count = stack[0];
    char **argv = (char **)(stack + 1);
    size *auxiliary;
    int code = 2;
    program_environment = argv + count + 1;
    for (auxiliary = (size *)program_environment; *auxiliary; auxiliary++)
        ;
    for (auxiliary++; *auxiliary; auxiliary += 2)
        if (auxiliary[0] == 33)
            find_vdso((char *)auxiliary[1]);
    program_path = "/proc/self/exe";
    if (count == 2 && is_same(argv[1], "--exit"))
        end(0);
    if (count == 2 && is_same(argv[1], "--version")) {
        add("perfctl-measure 1 (compiled by "
#ifdef __TINYC__
            "tcc"
#else
            "gcc " __VERSION__
#endif
            ")\n");
        print(1);
        end(0);
    }
    if (count == 5 && is_same(argv[1], "syscalls"))
        code = measure_calls(argv[2], to_number(argv[3]), to_number(argv[4]) * 1000);
    if (count == 6 && is_same(argv[1], "stream"))
        code = measure_stream(to_number(argv[2]), to_number(argv[3]), to_number(argv[4]), argv[5]);
    if (count == 6 && is_same(argv[1], "latency"))
        code = measure_latency(to_number(argv[2]), argv[3], to_number(argv[4]), to_number(argv[5]) * 1000);
    if (code == 2) {
        length = 0;
        add("perfctl-measure: error: called in a wrong way; it begins with how it is called\n");
        print(2);
    }
    end(code);
}
