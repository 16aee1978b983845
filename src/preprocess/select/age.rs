//! Order of the annotations of one image by their age.

use std::cmp::Ordering;

use super::Annotation;
use super::timestamp::Timestamp;

/// Event of an annotation's life by which ages are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AgeMeasure {
    Creation,
    /// The last change, or the creation where no change is known.
    Change,
}

impl AgeMeasure {
    /// Returns the time of the event, if the annotation states one that can be understood.
    pub(super) fn time(self, annotation: &Annotation) -> Option<Timestamp> {
        let created_at = Timestamp::parse(&annotation.created_at);
        match self {
            Self::Creation => created_at,
            Self::Change => Timestamp::parse(&annotation.updated_at).or(created_at),
        }
    }

    /// Returns a key that grows with time, and with Label Studio's numbers at equal times.
    pub(super) fn sort_key(self, annotation: &Annotation) -> (Option<Timestamp>, Option<i64>) {
        (self.time(annotation), annotation.id)
    }

    /// Compares two annotations: the younger is greater. `None` if neither times nor numbers say
    /// which it is.
    pub(super) fn compare(self, first: &Annotation, second: &Annotation) -> Option<Ordering> {
        if let (Some(first_time), Some(second_time)) = (self.time(first), self.time(second))
            && first_time != second_time
        {
            return Some(first_time.cmp(&second_time));
        }
        if let (Some(first_id), Some(second_id)) = (first.id, second.id)
            && first_id != second_id
        {
            return Some(first_id.cmp(&second_id));
        }
        None
    }

    /// Sorts by age, the youngest last, where all have times or all have numbers. Else, and where
    /// those are equal, the order stays.
    pub(super) fn sort(self, annotations: &mut [Annotation]) {
        if annotations.iter().all(|annotation| self.time(annotation).is_some()) {
            annotations.sort_by_cached_key(|annotation| self.sort_key(annotation));
        } else if annotations.iter().all(|annotation| annotation.id.is_some()) {
            annotations.sort_by_key(|annotation| annotation.id);
        }
    }
}
