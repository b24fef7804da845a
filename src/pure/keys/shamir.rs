//! Shamir's secret sharing over GF(2^8) with the AES polynomial 0x11B, share layout as in SOPS and HashiCorp Vault:
//! one y byte per secret byte, then one x byte.

use zeroize::Zeroizing;

use crate::pure::secret::Plaintext;

/// Why shares do not make a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the message of each variant is its documentation")]
pub enum ShamirError {
    #[error("at least two shares are needed")]
    TooFew,
    #[error("the shares differ in length or are too short")]
    Length,
    #[error("two shares have the same number")]
    Repeated,
    #[error("a threshold lies between 2 and the number of shares, and there are at most 255 shares")]
    Threshold,
    #[error("not enough random bytes")]
    Randomness,
}

/// Number of random bytes that [`split`] needs.
pub fn random_bytes_needed(secret: usize, threshold: usize) -> usize {
    secret * threshold.saturating_sub(1)
}

/// Splits `secret` into `parts` shares, any `threshold` of which give it back. Share i has the number i, from 1.
pub fn split(secret: &[u8], parts: usize, threshold: usize, random: &[u8]) -> Result<Vec<Plaintext>, ShamirError> {
    let count = u8::try_from(parts).map_err(|_| ShamirError::Threshold)?;
    if threshold < 2 || threshold > parts {
        return Err(ShamirError::Threshold);
    }
    if random.len() < random_bytes_needed(secret.len(), threshold) {
        return Err(ShamirError::Randomness);
    }
    let degree = threshold - 1;
    Ok((1..=count)
        .map(|x| {
            let mut share = Vec::with_capacity(secret.len() + 1);
            for (byte, coefficients) in secret.iter().zip(random.chunks_exact(degree)) {
                // Horner, from the highest coefficient down to the secret byte.
                share.push(coefficients.iter().rev().fold(0, |sum, c| multiply(sum ^ c, x)) ^ byte);
            }
            share.push(x);
            Plaintext::new(share)
        })
        .collect())
}

/// Interpolates the secret at zero from all shares given.
pub fn combine(shares: &[Plaintext]) -> Result<Plaintext, ShamirError> {
    if shares.len() < 2 {
        return Err(ShamirError::TooFew);
    }
    let mut points = Vec::with_capacity(shares.len());
    for share in shares {
        let Some((x, ys)) = share.expose().split_last() else { return Err(ShamirError::Length) };
        points.push((*x, ys));
    }
    let length = points.first().map_or(0, |(_, ys)| ys.len());
    if length == 0 || points.iter().any(|(_, ys)| ys.len() != length) {
        return Err(ShamirError::Length);
    }
    let mut secret = Zeroizing::new(vec![0; length]);
    for (index, (x, ys)) in points.iter().enumerate() {
        let mut basis = 1;
        for (other, (other_x, _)) in points.iter().enumerate() {
            if other != index {
                if other_x == x {
                    return Err(ShamirError::Repeated);
                }
                basis = multiply(basis, multiply(*other_x, inverse(other_x ^ x)));
            }
        }
        for (out, y) in secret.iter_mut().zip(*ys) {
            *out ^= multiply(*y, basis);
        }
    }
    Ok(Plaintext::copy_of(&secret))
}

/// Product in the field, without a branch or table index that depends on the operands.
fn multiply(a: u8, b: u8) -> u8 {
    let (mut a, mut product) = (a, 0);
    for bit in 0..8 {
        product ^= a & (0u8.wrapping_sub((b >> bit) & 1));
        let carry = 0u8.wrapping_sub(a >> 7);
        a = (a << 1) ^ (0x1b & carry);
    }
    product
}

/// a^254, which is 1/a; 0 for 0.
fn inverse(a: u8) -> u8 {
    let mut power = a;
    let mut result = 1;
    for _ in 0..7 {
        power = multiply(power, power);
        result = multiply(result, power);
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_field_is_the_one_of_aes() {
        assert_eq!(multiply(0x57, 0x83), 0xc1, "the example of FIPS 197");
        for a in 1..=255 {
            assert_eq!(multiply(a, inverse(a)), 1, "{a}");
        }
    }

    #[test]
    fn any_threshold_of_shares_gives_the_secret_and_fewer_do_not() {
        let secret: Vec<u8> = (0..32).collect();
        let random: Vec<u8> = (0..64u8).map(|i| i.wrapping_mul(37).wrapping_add(11)).collect();
        let shares = split(&secret, 5, 3, &random).expect("splits");
        for picks in [[0, 1, 2], [4, 2, 0], [1, 3, 4]] {
            let some: Vec<Plaintext> = picks.iter().map(|i| shares[*i].duplicate()).collect();
            assert_eq!(combine(&some).ok().map(|p| p.expose().to_vec()), Some(secret.clone()));
        }
        let two: Vec<Plaintext> = shares.iter().take(2).map(Plaintext::duplicate).collect();
        assert_ne!(combine(&two).ok().map(|p| p.expose().to_vec()), Some(secret.clone()));
        let same = [shares[0].duplicate(), shares[0].duplicate()];
        assert_eq!(combine(&same).err(), Some(ShamirError::Repeated));
        assert_eq!(split(&secret, 2, 3, &random).err(), Some(ShamirError::Threshold));
        assert_eq!(split(&secret, 3, 3, &random[..63]).err(), Some(ShamirError::Randomness));
    }
}
