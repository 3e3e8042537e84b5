//! The names of the system calls of each architecture, packed.
//!
//! They are those of the crate `syscalls`. As it stands, each would be a pointer and a length,
//! and a position-independent program has to put every pointer right when it starts, in pages
//! of its own: ten thousand of them, most for machines that are not ours. So the tables are
//! turned into texts and offsets when the runtime is compiled.

/// Numbers that a table has room for, from its first on.
const PLACES: usize = 600;

struct Names {
    first: usize,
    /// Where each name ends in `text`, and so where the next begins; a place without a call has
    /// none of it.
    ends: &'static [u16; PLACES],
    text: &'static str,
}

impl Names {
    fn get(&self, number: u32) -> Option<&'static str> {
        let place = (number as usize).checked_sub(self.first)?;
        let end = usize::from(*self.ends.get(place)?);
        let start = match place.checked_sub(1) {
            Some(before) => usize::from(self.ends[before]),
            None => 0,
        };
        let name = self.text.get(start..end)?;
        (!name.is_empty()).then_some(name)
    }
}

macro_rules! pack {
    ($($table:ident from $first:literal,)*) => { $(
        /// The name of the call with this number, if there is one.
        pub fn $table(number: u32) -> Option<&'static str> {
            use syscalls::$table::Sysno;

            const LENGTH: usize = {
                let (mut length, mut place) = (0, 0);
                while place < PLACES {
                    if let Some(call) = Sysno::new($first + place) {
                        length += call.name().len();
                    }
                    place += 1;
                }
                length
            };
            const PACKED: ([u16; PLACES], [u8; LENGTH]) = {
                let (mut ends, mut text) = ([0; PLACES], [0; LENGTH]);
                let (mut end, mut place) = (0, 0);
                while place < PLACES {
                    if let Some(call) = Sysno::new($first + place) {
                        let name = call.name().as_bytes();
                        let mut i = 0;
                        while i < name.len() {
                            text[end] = name[i];
                            end += 1;
                            i += 1;
                        }
                    }
                    ends[place] = end as u16;
                    place += 1;
                }
                (ends, text)
            };
            static ENDS: [u16; PLACES] = PACKED.0;
            static BYTES: [u8; LENGTH] = PACKED.1;
            static TEXT: &str = match std::str::from_utf8(&BYTES) {
                Ok(text) => text,
                Err(_) => "",
            };
            Names { first: $first, ends: &ENDS, text: TEXT }.get(number)
        }
    )* };
}

pack! {
    x86_64 from 0,
    x86 from 0,
    aarch64 from 0,
    arm from 0,
    riscv64 from 0,
    loongarch64 from 0,
    powerpc from 0,
    powerpc64 from 0,
    s390x from 0,
    mips from 4000,
    mips64 from 5000,
}

#[cfg(test)]
mod tests {
    /// Every number that the crate has a name for, and no other, has that name here.
    macro_rules! compare {
        ($($table:ident)*) => { $(
            for number in 0..0x1_0000 {
                let original = syscalls::$table::Sysno::new(number as usize);
                let original = original.map(|call| call.name());
                assert_eq!(super::$table(number), original, "{number}");
            }
        )* };
    }

    #[test]
    fn the_packed_tables_are_the_crate_s() {
        compare!(x86_64 x86 aarch64 arm riscv64 loongarch64);
        compare!(powerpc powerpc64 s390x mips mips64);
    }
}
