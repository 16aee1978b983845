//! Digests of a sample's files, by which a resumed job knows that its data are the same. They are
//! taken of the bytes that the audit reads anyway.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Number of bytes at the beginning and at the end of an image that its digest depends on. The
/// headers and the length differ in nearly all images that differ. Digests of checkpoints keep to it,
/// so that jobs of earlier versions can go on.
const HASHED_IMAGE_BYTES: usize = 64 << 10;

/// SHA-256 of some bytes or of what stands for them.
pub type ContentDigest = [u8; 32];

/// Digests of an image and its mask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SampleDigest {
    /// Digest of the image's length in bytes, two checksums of its first and last 64 KiB, and the
    /// entity tag of an object of S3.
    pub image: ContentDigest,
    /// Digest of all bytes of the mask.
    pub mask: ContentDigest,
    /// Hash of all bytes of the image, by [`hash_bytes`]: the same wherever the image comes from.
    pub image_hash: u64,
}

/// Returns the CRC-32 of some bytes in the upper half, and their CRC-32C in the lower one. Two
/// different images have the same hash once in 2^64.
pub fn hash_bytes(bytes: &[u8]) -> u64 {
    u64::from(crc32fast::hash(bytes)) << 32 | u64::from(crc32c::crc32c(bytes))
}

impl SampleDigest {
    /// Computes the digests from the bytes of both files. `image_etag` is the tag by which a store
    /// identifies the whole content of the image, if it comes from one.
    pub fn new(image: &[u8], image_etag: Option<&str>, mask: &[u8]) -> Self {
        let parts = if image.len() <= 2 * HASHED_IMAGE_BYTES {
            [image, &[]]
        } else {
            [&image[..HASHED_IMAGE_BYTES], &image[image.len() - HASHED_IMAGE_BYTES..]]
        };
        let mut hasher = Sha256::new();
        hasher.update((image.len() as u64).to_le_bytes());
        for part in parts {
            // SHA-256 of all these bytes would take 3 percent of an audit of small images. Two
            // checksums by different polynomials miss a change once in 2^64.
            hasher.update(crc32fast::hash(part).to_le_bytes());
            hasher.update(crc32c::crc32c(part).to_le_bytes());
        }
        if let Some(etag) = image_etag {
            hasher.update(etag.as_bytes());
        }
        Self {
            image: hasher.finalize().into(),
            mask: Sha256::digest(mask).into(),
            image_hash: hash_bytes(image),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_count_whole_and_images_by_length_beginning_end_and_tag() {
        let image = vec![7; 3 * HASHED_IMAGE_BYTES];
        let mask = vec![1; 3 * HASHED_IMAGE_BYTES];
        let digest = SampleDigest::new(&image, None, &mask);
        let with_image = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut image = image.clone();
            change(&mut image);
            SampleDigest::new(&image, None, &mask).image != digest.image
        };
        assert!(with_image(&|image| image[0] = 8));
        assert!(with_image(&|image| image[3 * HASHED_IMAGE_BYTES - 1] = 8));
        assert!(with_image(&|image| image.push(7)));
        assert!(!with_image(&|image| image[HASHED_IMAGE_BYTES] = 8), "the middle is not hashed");
        assert_ne!(SampleDigest::new(&image, Some("\"1\""), &mask).image, digest.image);

        let mut other_mask = mask.clone();
        other_mask[HASHED_IMAGE_BYTES + 5] = 2;
        let other = SampleDigest::new(&image, None, &other_mask);
        assert_eq!(other.image, digest.image);
        assert_ne!(other.mask, digest.mask);
    }

    #[test]
    fn hashes_are_the_checksums_of_all_bytes() {
        // The check values of both polynomials: zlib.crc32(b"123456789"), and RFC 3720's.
        assert_eq!(hash_bytes(b"123456789"), 0xcbf4_3926_e306_9283);
        let image = vec![7; 3 * HASHED_IMAGE_BYTES];
        let digest = |image: &[u8], etag| SampleDigest::new(image, etag, b"mask").image_hash;
        assert_eq!(digest(&image, None), digest(&image, Some("\"1\"")));
        let mut changed = image.clone();
        changed[HASHED_IMAGE_BYTES] = 8;
        assert_ne!(digest(&image, None), digest(&changed, None));
    }

    proptest::proptest! {
        #[test]
        fn a_change_of_a_small_image_is_seen_wherever_it_is(
            image in proptest::collection::vec(proptest::num::u8::ANY, 1..300),
            place: proptest::sample::Index,
        ) {
            let mut changed = image.clone();
            changed[place.index(image.len())] ^= 1;
            let [first, second] =
                [&image, &changed].map(|image| SampleDigest::new(image, None, b"mask"));
            proptest::prop_assert_ne!(first.image, second.image);
            proptest::prop_assert_eq!(first.mask, second.mask);
        }
    }
}
