//! `tty WORD...`: what a program does on its terminal.

use std::io::{self, Read, Write};
use std::sync::atomic::{AtomicI32, Ordering};

use nix::unistd::{self, ForkResult};

static SEEN: AtomicI32 = AtomicI32::new(0);

extern "C" fn note(signal: i32) {
    SEEN.store(signal, Ordering::Relaxed);
}

pub fn tty(words: &[&str]) -> Result<i32, String> {
    match words {
        ["size"] => size(),
        ["keys"] => keys(),
        ["source", bytes] => source(bytes.parse().map_err(|_| "not a number")?),
        ["sink", bytes] => sink(bytes.parse().map_err(|_| "not a number")?),
        ["lines"] => lines(),
        ["reopen"] => reopen(),
        ["leave", status] => leave(status.parse().map_err(|_| "not a number")?),
        _ => Err(format!("tty: no such command: {words:?}")),
    }
}

fn say(text: &str) {
    let _ = writeln!(io::stdout(), "{text}");
}

/// A handler without SA_RESTART, so that a signal ends a wait.
fn watch(signal: i32) {
    // SAFETY: all zero is a valid sigaction; the handler only stores a number.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = note as extern "C" fn(i32) as libc::sighandler_t;
        libc::sigaction(signal, &raw const action, std::ptr::null_mut());
    }
}

/// The next signal that is watched.
fn next() -> i32 {
    loop {
        let seen = SEEN.swap(0, Ordering::Relaxed);
        if seen != 0 {
            return seen;
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

fn say_size() {
    // SAFETY: all zero is a valid winsize, which the kernel fills.
    let size = unsafe {
        let mut size: libc::winsize = std::mem::zeroed();
        libc::ioctl(0, libc::TIOCGWINSZ as _, &raw mut size);
        size
    };
    say(&format!("size {} {}", size.ws_row, size.ws_col));
}

/// Say the size, and once more when it has changed.
fn size() -> Result<i32, String> {
    watch(libc::SIGWINCH);
    say_size();
    next();
    say_size();
    Ok(0)
}

/// Say which signals keys make; Ctrl-Z is the last one.
fn keys() -> Result<i32, String> {
    watch(libc::SIGINT);
    watch(libc::SIGTSTP);
    say("ready");
    loop {
        let signal = next();
        say(&format!("signal {signal}"));
        if signal == libc::SIGTSTP {
            return Ok(5);
        }
    }
}

fn make_raw() {
    // SAFETY: all zero is a valid termios, which the first call fills.
    unsafe {
        let mut modes: libc::termios = std::mem::zeroed();
        libc::tcgetattr(0, &raw mut modes);
        libc::cfmakeraw(&raw mut modes);
        libc::tcsetattr(0, libc::TCSANOW, &raw const modes);
    }
}

/// The bytes that both sides know (xorshift64).
pub fn bytes(count: usize) -> Vec<u8> {
    let mut x = 0x9E37_79B9_7F4A_7C15u64;
    let mut all = Vec::with_capacity(count + 8);
    while all.len() < count {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        all.extend_from_slice(&x.to_le_bytes());
    }
    all.truncate(count);
    all
}

fn source(count: usize) -> Result<i32, String> {
    make_raw();
    let all = bytes(count);
    // By one large write each, so that the end is not waited for.
    unistd::write(io::stdout(), b"ready\n").map_err(|e| e.to_string())?;
    io::stdout().write_all(&all).map_err(|e| e.to_string())?;
    io::stdout().flush().map_err(|e| e.to_string())?;
    Ok(0)
}

fn sink(count: usize) -> Result<i32, String> {
    make_raw();
    say("ready");
    let mut all = vec![0; count];
    io::stdin()
        .read_exact(&mut all)
        .map_err(|e| e.to_string())?;
    say(if all == bytes(count) {
        "equal"
    } else {
        "different"
    });
    Ok(0)
}

/// Read up to the end; the status says how many lines there were.
fn lines() -> Result<i32, String> {
    say("ready");
    let mut text = Vec::new();
    // A hang-up may show as an error.
    let _ = io::stdin().read_to_end(&mut text);
    Ok(40 + text.iter().filter(|byte| **byte == b'\n').count() as i32)
}

/// Let go of the terminal, and take it again by /dev/console.
fn reopen() -> Result<i32, String> {
    for fd in 0..3 {
        // SAFETY: nothing is done with them before they are open again.
        unsafe { libc::close(fd) };
    }
    std::thread::sleep(std::time::Duration::from_millis(200));
    for _ in 0..3 {
        // SAFETY: the path is a string; the lowest numbers are free.
        unsafe { libc::open(c"/dev/console".as_ptr(), libc::O_RDWR) };
    }
    say("here again");
    Ok(6)
}

/// End, and leave a process that holds the terminal and does not mind a hang-up.
fn leave(status: i32) -> Result<i32, String> {
    // SAFETY: the probe has one thread; to ignore a signal installs no code.
    unsafe { libc::signal(libc::SIGHUP, libc::SIG_IGN) };
    // SAFETY: as above.
    match unsafe { unistd::fork() }.map_err(|e| e.to_string())? {
        ForkResult::Child => loop {
            std::thread::sleep(std::time::Duration::from_secs(3600));
        },
        ForkResult::Parent { .. } => {
            say("the last line");
            Ok(status)
        }
    }
}
