//! Digests of a sample's files, by which a resumed job knows that its data are the same. They are
//! taken of the bytes that the audit reads anyway.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Number of bytes at the beginning and at the end of an image that its digest depends on. The
/// headers and the length differ in nearly all images that differ, and hashing them whole would
/// take a noticeable part of the time that decoding takes.
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
        Self { image: hasher.finalize().into(), mask: Sha256::digest(mask).into() }
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
