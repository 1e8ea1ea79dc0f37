//! Random bytes from the kernel: the server's secret, names of runs and of server instances.

use rustix::rand::{GetRandomFlags, getrandom};

/// Random bytes, at most 256 of them.
pub fn bytes<const COUNT: usize>() -> [u8; COUNT] {
    const { assert!(COUNT <= 256) };
    let mut bytes = [0; COUNT];
    let filled = getrandom(&mut bytes[..], GetRandomFlags::empty());
    // getrandom(2): up to 256 bytes come whole and cannot be interrupted.
    assert_eq!(filled, Ok(COUNT), "the kernel gives random bytes");
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_draws_differ() {
        assert_ne!(bytes::<32>(), bytes::<32>());
    }
}
