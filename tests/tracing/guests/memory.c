#include "calls.h"
int main(void) {
    char *p = (void *)S(mmap, NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), *room = p + 65536 * 16;
    S(mprotect, p, 4096, PROT_READ), S(mprotect, p, 4096, PROT_NONE), S(mprotect, p + 1, 4096, PROT_READ | PROT_EXEC), S(mprotect, p, 4096, PROT_READ | PROT_WRITE);
    S(madvise, p + 4096, 4096, MADV_DONTNEED), S(madvise, p, 4096, 999), S(msync, p + 4096, 4096, MS_SYNC), S(mincore, p + 4096, 4096, p + 4096), S(mincore, p + 1, 5, p);
    p = (void *)S(mremap, p, 8192, 16384, MREMAP_MAYMOVE);
    S(mremap, p, 16384, 4096, MREMAP_MAYMOVE | MREMAP_FIXED, room);
    p = room;
    S(mlock, p, 4096), S(mlock2, p, 4096, MLOCK_ONFAULT), S(munlock, p, 4096), S(mlockall, 64), S(munlockall);
    S(munmap, p, 4096), S(munmap, p + 1, 4096), S(brk, 0);
    S(mmap, NULL, 0, PROT_NONE, MAP_SHARED, -1, 0), S(mmap, NULL, 4096, PROT_READ, MAP_SHARED | MAP_FIXED | MAP_POPULATE | MAP_NORESERVE, 99, 0x3000);
    int id = S(shmget, IPC_PRIVATE, 4096, IPC_CREAT | 0600);
    struct shmid_ds ds;
    struct msqid_ds ms;
    S(shmctl, id, IPC_STAT, &ds);
    void *at = (void *)S(shmat, id, NULL, SHM_RDONLY);
    S(shmdt, at), S(shmctl, id, IPC_RMID, NULL), S(shmget, 0x12345678, 4096, 0), S(shmat, -1, NULL, 0);
    int q = S(msgget, IPC_PRIVATE, IPC_CREAT | 0600);
    struct { long type; char text[8]; } m = {5, "message"};
    S(msgsnd, q, &m, 8, IPC_NOWAIT), S(msgrcv, q, &m, 8, 0, MSG_NOERROR), S(msgrcv, q, &m, 8, 0, IPC_NOWAIT), S(msgctl, q, IPC_STAT, &ms), S(msgctl, q, IPC_RMID, NULL);
    int s = S(semget, IPC_PRIVATE, 2, IPC_CREAT | 0600);
    struct sembuf ops[2] = {{0, 1, SEM_UNDO}, {1, 1, IPC_NOWAIT}};
    S(semop, s, ops, 2), S(semctl, s, 0, GETVAL, 0), S(semctl, s, 1, SETVAL, 5), S(semtimedop, s, &(struct sembuf){0, -9, 0}, 1, &soon), S(semctl, s, 0, IPC_RMID, 0);
    struct mq_attr at1 = {0, 5, 64, 0};
    int mq = S(mq_open, "torov-trace", O_RDWR | O_CREAT | O_NONBLOCK, 0600, &at1);
    char buf[64];
    unsigned prio;
    S(mq_timedsend, mq, "text", 4, 3, NULL), S(mq_getsetattr, mq, NULL, &at1), S(mq_timedreceive, mq, buf, 64, &prio, &never), S(mq_timedreceive, mq, buf, 64, NULL, NULL), S(mq_notify, mq, NULL), S(mq_unlink, "torov-trace");
    S(set_mempolicy, 0, NULL, 0), S(pkey_alloc, 0, 0), S(modify_ldt, 0, NULL, 0), S(iopl, 0);
    S(rseq, NULL, 32, 0, 0), S(io_setup, 1, NULL), S(userfaultfd, O_CLOEXEC), S(seccomp, 1, 0, NULL), S(bpf, 0, NULL, 0), S(process_vm_readv, 1, NULL, 0, NULL, 0, 0), S(add_key, NULL, "d", "p", 1, -3), S(memfd_secret, 0), S(perf_event_open, NULL, 0, -1, -1, 0), S(ptrace, 16, 0, 0, 0);
    S(quotactl, 0, NULL, 0, NULL), S(name_to_handle_at, AT_FDCWD, ".", NULL, NULL, 0), S(io_uring_setup, 1, NULL), S(sethostname, BAD, 5), S(setdomainname, BAD, -1), S(reboot, 1, 2, 3, NULL), S(delete_module, "x", 0), S(pivot_root, "a", "b"), S(syslog, 10, NULL, 0), S(kcmp, 1, 1, 0, 0, 0), S(fsopen, "tmpfs", 0);
    S(uselib, "x"), S(landlock_create_ruleset, NULL, 0, 1), syscall(500, 1, 2, 3, 4, 5, 6);
    return 0;
}
