//! Where a bus listens: the specification's "Server Addresses", of which only sockets of this
//! machine are of use here.

use std::path::PathBuf;

/// The name of a socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Socket {
    Path(PathBuf),
    /// In the abstract namespace, without the leading NUL.
    Abstract(Vec<u8>),
}

/// The sockets that a list of addresses names, in order. Transports of other kinds are left
/// out.
pub fn parse(list: &str) -> Vec<Socket> {
    let address = |text: &str| {
        let pairs = text.strip_prefix("unix:")?.split(',');
        pairs.into_iter().find_map(|pair| {
            let (key, value) = pair.split_once('=')?;
            let value = unescape(value)?;
            match key {
                "path" => String::from_utf8(value)
                    .ok()
                    .map(|path| Socket::Path(path.into())),
                "abstract" => Some(Socket::Abstract(value)),
                _ => None,
            }
        })
    };
    list.split(';').filter_map(address).collect()
}

/// `%XX` is a byte.
fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut bytes = text.bytes();
    let mut plain = Vec::new();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            plain.push(byte);
            continue;
        }
        let mut digit = || char::from(bytes.next()?).to_digit(16);
        plain.push((digit()? << 4 | digit()?) as u8);
    }
    Some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_of_this_machine_are_found() {
        assert_eq!(
            parse(
                "tcp:host=x;unix:guid=1,path=/run/a%20b%2c;unix:abstract=/tmp/x,guid=1;unix:path=%4"
            ),
            [
                Socket::Path("/run/a b,".into()),
                Socket::Abstract(b"/tmp/x".to_vec())
            ]
        );
        assert_eq!(parse(""), []);
    }
}
