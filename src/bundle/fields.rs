//! The fields of the specification's version 1.3.0, and the way down to them in untyped JSON.

/// A pointer and its kind (for the tests) a line. `*` in a pointer stands for any index or key.
const FIELDS: &str = include_str!("fields.txt");

/// Of older versions, and acted on as what has taken their place (see `repair`).
const OLDER: [&str; 2] = ["/linux/intelRdt/enableCMT", "/linux/intelRdt/enableMBM"];

/// What may be at one place: the rests of the pointers that lead there.
pub struct Place(Vec<&'static str>);

impl Place {
    /// The place of what the pointer `within` names: of a whole config where it is empty.
    pub fn of(within: &str) -> Self {
        let fields = FIELDS
            .lines()
            .filter_map(|line| line.split(' ').next())
            .chain(OLDER)
            .filter_map(|field| field.strip_prefix(within));
        Self(fields.collect())
    }

    /// The place of the member `key`, or of the element of this index.
    pub fn below(&self, key: &str) -> Self {
        let rests = self.0.iter().filter_map(|field| {
            let field = field.strip_prefix('/')?;
            let end = field.find('/').unwrap_or(field.len());
            let (name, rest) = field.split_at(end);
            (name == "*" || name == key).then_some(rest)
        });
        Self(rests.collect())
    }

    /// The specification has nothing here.
    pub fn is_unknown(&self) -> bool {
        self.0.is_empty()
    }

    /// A field ends here; its value may be anything, such as that of windows.credentialSpec.
    pub fn is_field(&self) -> bool {
        self.0.contains(&"")
    }

    /// An object whose members have names of their own, and no list or map.
    pub fn is_object(&self) -> bool {
        let is_list = |field: &&str| *field == "/*" || field.starts_with("/*/");
        !self.is_unknown() && !self.is_field() && !self.0.iter().any(is_list)
    }
}
