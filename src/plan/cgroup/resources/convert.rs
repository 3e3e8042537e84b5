//! Values of v1 as values of v2. Engines and dashboards know the results by heart, so the
//! formulas are those of runc and of the specification's appendix.

/// The kernel's bounds of cpu.shares on v1.
pub const MIN_SHARES: u64 = 2;
pub const MAX_SHARES: u64 = 262_144;

/// `cpu.weight` (1 to 10,000, default 100) of `cpu.shares` (2 to 262,144, default 1024): a
/// quadratic in the logarithm that meets both ends and the default.
pub fn cpu_weight(shares: u64) -> u64 {
    match shares {
        0..=MIN_SHARES => 1,
        MAX_SHARES.. => 10_000,
        shares => {
            let log = (shares as f64).log2();
            let exponent = (log * log + 125.0 * log) / 612.0 - 7.0 / 34.0;
            10_f64.powf(exponent).ceil() as u64
        }
    }
}

/// `io.weight` (1 to 10,000) of a block I/O weight (10 to 1,000), linearly.
pub fn io_weight(weight: u16) -> u64 {
    1 + (u64::from(weight).saturating_sub(10)) * 9_999 / 990
}

/// `memory.swap.max` of the config's limit of memory and swap together; 0 is unset, -1
/// unlimited. `None`: nothing is to be written.
pub fn swap_max(both: i64, memory: i64) -> Result<Option<i64>, String> {
    match (both, memory) {
        // Unlimited memory alone means unlimited swap too, as v1 understands it.
        (0, -1) => Ok(Some(-1)),
        (0, _) => Ok(None),
        (-1, _) => Ok(Some(-1)),
        (both, -1) => Ok(Some(both)),
        (_, 0) => Err("unable to set swap limit without memory limit".to_owned()),
        (both, memory) if both < memory => {
            Err("memory+swap limit should be >= memory limit".to_owned())
        }
        (both, memory) => Ok(Some(both - memory)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_become_weights() {
        let expected = [
            (1, 1),
            (2, 1),
            (3, 2),
            (1024, 100),
            (512, 59),
            (262_144, 10_000),
            (u64::MAX, 10_000),
        ];
        for (shares, weight) in expected {
            assert_eq!(cpu_weight(shares), weight, "{shares}");
        }
    }

    #[test]
    fn block_weights_meet_both_ends() {
        assert_eq!((io_weight(10), io_weight(1000)), (1, 10_000));
        assert_eq!(io_weight(500), 4950);
    }

    #[test]
    fn swap_is_what_is_left_of_both() {
        assert_eq!(swap_max(300, 100), Ok(Some(200)));
        assert_eq!(swap_max(100, 100), Ok(Some(0)));
        assert_eq!(swap_max(-1, 100), Ok(Some(-1)));
        assert_eq!(swap_max(0, 100), Ok(None));
        assert_eq!(swap_max(0, -1), Ok(Some(-1)));
        assert_eq!(swap_max(300, -1), Ok(Some(300)));
        assert!(swap_max(300, 0).is_err());
        assert!(swap_max(99, 100).is_err());
    }
}
