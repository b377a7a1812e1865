//! A hash that is the same in every process and every release, for what is stored or spread.

use homeostasis_core::Ratio;

/// FNV-1a of 64 bits (Fowler, Noll, Vo) over the parts, each ended by a byte that no text has, with the finalizer of
/// `MurmurHash3` (Appleby) so that all bits differ where one does.
pub(crate) fn of<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for part in parts {
        for byte in part.iter().chain(&[0xff]) {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

/// Where `name` lies between 0 and 1, spread evenly over names.
pub(crate) fn share(name: &str) -> Ratio {
    let steps = of([name.as_bytes()]) >> 32;
    Ratio::saturating(steps as f64 / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_specified_and_parts_do_not_run_together() {
        // Whatever is stored by it must be found by later releases.
        assert_eq!(
            of([b"trace".as_slice(), &7_u64.to_le_bytes()]),
            0x1373_5f70_773f_ba24
        );
        assert_ne!(of([b"a".as_slice(), b"bc"]), of([b"ab".as_slice(), b"c"]));
    }

    #[test]
    fn names_that_differ_in_a_digit_are_spread_evenly() {
        let mut tenths = [0_u32; 10];
        for i in 0..10_000 {
            let share = share(&format!("disk_used_percent{{disk=\"sd{i}\"}}")).get();
            let tenth = (0..9).find(|tenth| share < f64::from(tenth + 1) / 10.0);
            tenths[usize::try_from(tenth.unwrap_or(9)).unwrap()] += 1;
        }
        assert!(tenths.iter().all(|n| (850..1150).contains(n)), "{tenths:?}");
    }
}
