//! The filter of system calls.
//!
//! It takes away what tests of a service never need and escapes do: reaching into other processes, mounts,
//! namespaces, keys, kernel programs, the clock.
//! A refused call answers with `EPERM`; `clone3`, whose flags a filter cannot read, and memory files, which
//! nobody counts, answer with `ENOSYS`, so that callers fall back to `clone` and to files.
//! Without namespaces nobody may change modes, owners, times and attributes of files, also of the copy:
//! landlock does not hold these calls, and a filter sees no paths.
//! The same goes for cutting files by path, or by opening them for reading, which landlock holds only from
//! Linux 6.2 on; what was opened for writing may be cut.

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, sock_filter,
};

/// Calls refused whatever their arguments.
const REFUSED: &[i64] = &[
    // Other processes.
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    libc::SYS_migrate_pages,
    libc::SYS_move_pages,
    // Mounts and namespaces.
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_mount_setattr,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_name_to_handle_at,
    libc::SYS_open_by_handle_at,
    // Keys, programs in the kernel, its rarely trodden paths.
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_fanotify_init,
    libc::SYS_personality,
    // The machine.
    libc::SYS_kexec_load,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_quotactl,
    libc::SYS_syslog,
    libc::SYS_vhangup,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_iopl,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ioperm,
];

/// Calls that reach what namespaces would hide: sockets, objects of the same user, other sessions.
const REFUSED_IN_GROUP: &[i64] = &[
    libc::SYS_socket,
    libc::SYS_setsid,
    libc::SYS_ioprio_set,
    libc::SYS_sched_setaffinity,
    libc::SYS_sched_setattr,
    libc::SYS_sched_setparam,
    libc::SYS_sched_setscheduler,
    libc::SYS_shmget,
    libc::SYS_shmat,
    libc::SYS_shmctl,
    libc::SYS_semget,
    libc::SYS_semctl,
    libc::SYS_msgget,
    libc::SYS_msgctl,
    libc::SYS_mq_open,
    libc::SYS_mq_unlink,
    // Cutting files that are not open for writing.
    libc::SYS_truncate,
    // What files are besides their content.
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_utimensat,
    libc::SYS_setxattr,
    libc::SYS_lsetxattr,
    libc::SYS_fsetxattr,
    libc::SYS_removexattr,
    libc::SYS_lremovexattr,
    libc::SYS_fremovexattr,
    SYS_FCHMODAT2,
    SYS_SETXATTRAT,
    SYS_REMOVEXATTRAT,
    SYS_FILE_SETATTR,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_chmod,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_chown,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_lchown,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_utime,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_utimes,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_futimesat,
];

// Numbers that are the same on every architecture, and too new for some headers.
const SYS_MEMFD_SECRET: i64 = 447;
const SYS_FCHMODAT2: i64 = 452;
const SYS_SETXATTRAT: i64 = 463;
const SYS_REMOVEXATTRAT: i64 = 466;
const SYS_FILE_SETATTR: i64 = 469;

/// Calls the kernel is said not to know.
const UNKNOWN: &[i64] = &[libc::SYS_clone3, libc::SYS_memfd_create, SYS_MEMFD_SECRET];

/// The same without namespaces: its flags are where a filter cannot read them.
const UNKNOWN_IN_GROUP: &[i64] = &[libc::SYS_openat2];

/// Calls that make files: which argument is the kind and mode.
const MAKES_FILE: &[(i64, u8)] = &[
    (libc::SYS_mknodat, 2),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_mknod, 1),
];

/// Calls that open files: which argument holds the flags. `creat` opens for writing.
const OPENS_FILE: &[(i64, u8)] = &[
    (libc::SYS_openat, 2),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_open, 1),
];

/// How large a piece of System V memory may be, in bytes. It lives on when nobody maps it, and there may be
/// 4096 of them.
const SHARED_BYTES: u64 = 4096;

/// Flags of `clone` that make namespaces: mounts, cgroup, host name, System V, users, processes, network.
const NEW_NAMESPACES: [u64; 7] = [
    0x0002_0000,
    0x0200_0000,
    0x0400_0000,
    0x0800_0000,
    0x1000_0000,
    0x2000_0000,
    0x4000_0000,
];

/// Whom the filter is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Filtered {
    /// A program with a network and processes of its own: local sockets of the usual families work.
    InNamespaces,
    /// One without: no sockets but pairs, and no session or process group but this.
    InGroup(u32),
}

/// The filters to load, one after the other, or why there are none.
pub(super) fn programs(filtered: Filtered) -> Result<[BpfProgram; 2], String> {
    let arch = TargetArch::try_from(std::env::consts::ARCH).map_err(|e| e.to_string())?;
    let refuse = |rules, errno: i32| -> Result<BpfProgram, String> {
        let errno = SeccompAction::Errno(u32::try_from(errno).unwrap_or(1));
        let filter = SeccompFilter::new(rules, SeccompAction::Allow, errno, arch);
        let program: BpfProgram = filter
            .and_then(TryInto::try_into)
            .map_err(|error| error.to_string())?;
        Ok(program)
    };
    let mut refused = refuse(rules(filtered)?, libc::EPERM)?;
    if cfg!(target_arch = "x86_64") {
        refused.splice(0..0, REFUSE_X32);
    }
    let besides = match filtered {
        Filtered::InNamespaces => &[][..],
        Filtered::InGroup(_) => UNKNOWN_IN_GROUP,
    };
    let unknown = UNKNOWN.iter().chain(besides);
    let unknown = unknown.map(|call| (*call, Vec::new())).collect();
    Ok([refused, refuse(unknown, libc::ENOSYS)?])
}

/// The bytes `bwrap` reads.
pub(super) fn bytes(program: &BpfProgram) -> Vec<u8> {
    program
        .iter()
        .flat_map(|step| {
            let mut bytes = [0; 8];
            bytes[..2].copy_from_slice(&step.code.to_ne_bytes());
            bytes[2..4].copy_from_slice(&[step.jt, step.jf]);
            bytes[4..].copy_from_slice(&step.k.to_ne_bytes());
            bytes
        })
        .collect()
}

/// On x86-64 the same kernel may answer a second numbering, from 2^30 up, that no rule names.
const REFUSE_X32: [sock_filter; 3] = [
    // Load the number; below 2^30 jump over the next; answer EPERM.
    sock_filter {
        code: 0x20,
        jt: 0,
        jf: 0,
        k: 0,
    },
    sock_filter {
        code: 0x35,
        jt: 0,
        jf: 1,
        k: 0x4000_0000,
    },
    sock_filter {
        code: 0x06,
        jt: 0,
        jf: 0,
        k: 0x0005_0001,
    },
];

fn rules(filtered: Filtered) -> Result<BTreeMap<i64, Vec<SeccompRule>>, String> {
    use SeccompCmpOp::{Eq, MaskedEq, Ne};
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> =
        REFUSED.iter().map(|call| (*call, Vec::new())).collect();
    let namespaces: Result<_, String> = NEW_NAMESPACES
        .iter()
        .map(|flag| rule(&[(0, MaskedEq(*flag), *flag)]))
        .collect();
    rules.insert(libc::SYS_clone, namespaces?);
    // Typing into a terminal: TIOCSTI, TIOCLINUX.
    let mut requests = vec![0x5412, 0x541c];
    if matches!(filtered, Filtered::InGroup(_)) {
        // Attributes of files: FS_IOC_SETFLAGS in both sizes, FS_IOC_FSSETXATTR.
        requests.extend([0x4008_6602, 0x4004_6602, 0x401c_5820]);
    }
    let requests = requests
        .into_iter()
        .map(|request| rule(&[(1, Eq, request)]));
    let requests: Result<_, String> = requests.collect();
    rules.insert(libc::SYS_ioctl, requests?);
    for (call, mode) in MAKES_FILE {
        // Character and block devices.
        let kinds = [0o020_000, 0o060_000];
        let devices = kinds.map(|kind| rule(&[(*mode, MaskedEq(0o170_000), kind)]));
        rules.insert(*call, devices.into_iter().collect::<Result<_, _>>()?);
    }
    match filtered {
        Filtered::InNamespaces => {
            // Others than local, IPv4, IPv6 and netlink may leave the namespace or the beaten track.
            let families = [1, 2, 10, 16].map(|family| (0, Ne, family));
            rules.insert(libc::SYS_socket, vec![rule(&families)?]);
            let large = (1, SeccompCmpArgLen::Qword, SeccompCmpOp::Gt, SHARED_BYTES);
            rules.insert(libc::SYS_shmget, vec![sized_rule(&[large])?]);
            rules.insert(libc::SYS_msgget, Vec::new());
        }
        Filtered::InGroup(group) => {
            rules.extend(REFUSED_IN_GROUP.iter().map(|call| (*call, Vec::new())));
            for (call, flags) in OPENS_FILE {
                // To be cut, and for reading or nothing at all.
                let (mask, cut) = (0o1003, 0o1000);
                let ways = [cut, cut | 3].map(|way| rule(&[(*flags, MaskedEq(mask), way)]));
                rules.insert(*call, ways.into_iter().collect::<Result<_, _>>()?);
            }
            let leaves = rule(&[(1, Ne, u64::from(group))])?;
            rules.insert(libc::SYS_setpgid, vec![leaves]);
            let of_another = rule(&[(0, Ne, 0)])?;
            rules.insert(libc::SYS_prlimit64, vec![of_another.clone()]);
            let who = rule(&[(1, Ne, 0)])?;
            rules.insert(libc::SYS_setpriority, vec![of_another, who]);
        }
    }
    Ok(rules)
}

/// All of `conditions`: the index of the argument, how its lower half compares, with what.
fn rule(conditions: &[(u8, SeccompCmpOp, u64)]) -> Result<SeccompRule, String> {
    let sized: Vec<_> = conditions
        .iter()
        .map(|(index, how, value)| (*index, SeccompCmpArgLen::Dword, how.clone(), *value))
        .collect();
    sized_rule(&sized)
}

fn sized_rule(
    conditions: &[(u8, SeccompCmpArgLen, SeccompCmpOp, u64)],
) -> Result<SeccompRule, String> {
    let conditions: Result<Vec<_>, _> = conditions
        .iter()
        .map(|(index, size, how, value)| {
            SeccompCondition::new(*index, size.clone(), how.clone(), *value)
        })
        .collect();
    conditions
        .and_then(SeccompRule::new)
        .map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_whole_instructions_below_the_bound_of_the_kernel() {
        for filtered in [Filtered::InNamespaces, Filtered::InGroup(7)] {
            let [refused, unknown] = programs(filtered).unwrap();
            assert_eq!(bytes(&refused).len(), refused.len() * 8);
            assert!(refused.len() > REFUSED.len() && refused.len() < 4096);
            assert!(unknown.len() > UNKNOWN.len() && unknown.len() < 40);
            let rules = rules(filtered).unwrap();
            let refused_always = |call| rules.get(&call).is_some_and(Vec::is_empty);
            #[cfg(target_arch = "x86_64")]
            assert!(refused_always(libc::SYS_iopl) && refused_always(libc::SYS_ioperm));
            let in_group = filtered == Filtered::InGroup(7);
            assert_eq!(refused_always(libc::SYS_truncate), in_group);
            assert!(!refused_always(libc::SYS_mknodat) && !refused_always(libc::SYS_openat));
            // The second instruction of the x32 guard jumps over the refusal only.
            let guard = bytes(&refused)[8..16].to_vec();
            assert_eq!(guard[..4], [0x35, 0, 0, 1]);
        }
    }
}
