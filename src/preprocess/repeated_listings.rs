//! Images that a COCO file lists several times, as files do that were joined by a script.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use super::rasterize::MaskSource;
use super::select::Annotation;
use crate::error::join_examples;

/// Annotations of one image, of which each COCO file has at most one.
#[derive(Debug, Default)]
pub(super) struct JoinedListings {
    pub annotations: Vec<Annotation>,
    /// Locations of each annotation that was joined from several listings.
    pub joined: Vec<String>,
}

/// Listings of one image in one COCO file.
struct RepeatedListing {
    /// Index of the annotation that takes all regions.
    index: usize,
    /// Locations with the sizes that they state.
    places: Vec<String>,
    locations: Vec<String>,
    has_size_conflict: bool,
}

/// Joins the listings of one image in the same COCO file: each has some of the regions, which are
/// painted in the order of the file. The error is the reason why the image cannot be used.
pub(super) fn join_repeated_listings(
    annotations: Vec<Annotation>,
) -> Result<JoinedListings, String> {
    let mut joined = JoinedListings::default();
    let mut listings: HashMap<Arc<Path>, RepeatedListing> = HashMap::new();
    for mut annotation in annotations {
        let place = describe_listing(&annotation);
        let MaskSource::Coco { spans, image_size, .. } = &mut annotation.mask_source else {
            joined.annotations.push(annotation);
            continue;
        };
        let Some(listing) = listings.get_mut(&annotation.file) else {
            let listing = RepeatedListing {
                index: joined.annotations.len(),
                places: vec![place],
                locations: vec![annotation.location.clone()],
                has_size_conflict: false,
            };
            listings.insert(annotation.file.clone(), listing);
            joined.annotations.push(annotation);
            continue;
        };
        listing.places.push(place);
        listing.locations.push(annotation.location.clone());
        let first = &mut joined.annotations[listing.index].mask_source;
        if let MaskSource::Coco { spans: all_spans, image_size: first_size, .. } = first {
            all_spans.append(spans);
            listing.has_size_conflict |=
                first_size.is_some() && image_size.is_some() && first_size != image_size;
            *first_size = first_size.or(*image_size);
        }
    }
    let mut repeated: Vec<RepeatedListing> = listings.into_values().collect();
    repeated.retain(|listing| listing.locations.len() > 1);
    repeated.sort_by_key(|listing| listing.index);
    for listing in repeated {
        if listing.has_size_conflict {
            return Err(format!(
                "is listed several times in one file with different sizes: {}; remove the entry \
                 that is wrong, or correct its width and height",
                join_examples(listing.places)
            ));
        }
        let annotation = &mut joined.annotations[listing.index];
        if let MaskSource::Coco { spans, .. } = &mut annotation.mask_source {
            spans.sort_by_key(|span| span.offset);
        }
        annotation.location = join_examples(listing.locations);
        joined.joined.push(annotation.location.clone());
    }
    Ok(joined)
}

/// Returns the location of a listing with the size that it states.
fn describe_listing(annotation: &Annotation) -> String {
    match annotation.mask_source {
        MaskSource::Coco { image_size: Some((width, height)), .. } => {
            format!("{} ({width} x {height})", annotation.location)
        }
        _ => annotation.location.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::preprocess::rasterize::ByteSpan;

    fn listing(file: &str, id: u32, offsets: &[u64], image_size: Option<(u32, u32)>) -> Annotation {
        let path: Arc<Path> = Arc::from(Path::new(file));
        let spans = offsets.iter().map(|offset| ByteSpan { offset: *offset, length: 1 }).collect();
        let mask_source = MaskSource::Coco {
            file: path.clone(),
            spans,
            categories: Arc::new(HashMap::new()),
            image_size,
        };
        Annotation::without_metadata(path, format!("image {id} in {file}"), mask_source)
    }

    #[test]
    fn listings_of_one_file_are_one_annotation_in_the_order_of_the_file() {
        let size = Some((4, 3));
        let joined = join_repeated_listings(vec![
            listing("a.json", 1, &[10, 40], None),
            listing("b.json", 1, &[5], size),
            listing("a.json", 2, &[30], size),
        ])
        .unwrap();
        assert_eq!(joined.joined, ["image 1 in a.json, image 2 in a.json"]);
        let [first, second] = &joined.annotations[..] else { panic!("{joined:?}") };
        let MaskSource::Coco { spans, image_size, .. } = &first.mask_source else { panic!() };
        let offsets: Vec<u64> = spans.iter().map(|span| span.offset).collect();
        assert_eq!((&offsets[..], *image_size), (&[10, 30, 40][..], size));
        assert_eq!(second.location, "image 1 in b.json");
    }

    #[test]
    fn listings_that_state_different_sizes_are_refused_with_their_places() {
        let reason = join_repeated_listings(vec![
            listing("a.json", 1, &[10], Some((4, 3))),
            listing("a.json", 2, &[30], Some((3, 4))),
        ])
        .unwrap_err();
        assert!(
            reason.contains("image 1 in a.json (4 x 3), image 2 in a.json (3 x 4)"),
            "{reason}"
        );
    }
}
