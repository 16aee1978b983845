//! The control tag that gets the predictions, and its labels.

use std::collections::HashMap;

use crate::annotations::label_config::{ImageTag, LabelConfig, LabelControl};
use crate::error::{Error, Result, did_you_mean};
use crate::files::normalize_name;

/// Kind of regions that a control tag draws.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RegionKind {
    /// `<BrushLabels>`: a mask in brush RLE.
    Brush,
    /// `<BitmaskLabels>`: a mask as a PNG.
    Bitmask,
    /// `<PolygonLabels>`: an outline.
    Polygon,
}

/// Kinds in the order in which one is preferred to another with as many labels: exact ones first.
const REGION_KINDS: [(RegionKind, &str); 3] = [
    (RegionKind::Brush, "brushlabels"),
    (RegionKind::Bitmask, "bitmasklabels"),
    (RegionKind::Polygon, "polygonlabels"),
];

/// Control tags that can be used, for messages.
const USABLE_TAGS: &str = "<BrushLabels>, <BitmaskLabels> and <PolygonLabels>";

/// The control tag of a project that gets predictions, and the label of each class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlPlan {
    pub kind: RegionKind,
    /// Name of the control tag, and of the image on which it draws.
    pub from_name: String,
    pub to_name: String,
    /// Tag of that image, which says where it is in a task's data.
    pub image_tag: ImageTag,
    /// Label of each class, class 0 first; none if the control has no such label.
    pub labels: Vec<Option<String>>,
}

/// A plan, and what a user should know of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedControl {
    pub plan: ControlPlan,
    /// Sentences about classes and labels without a partner, and about other controls.
    pub notes: Vec<String>,
}

/// Chooses the control tag of a labeling configuration that gets predictions of these classes: the one
/// named `wanted`, or the one with the most of their labels.
///
/// # Errors
///
/// No control tag can be used, or none of its labels is a class of the model.
pub fn plan_control(
    config: &LabelConfig,
    class_names: &[String],
    wanted: Option<&str>,
) -> Result<PlannedControl> {
    let candidates = find_candidates(config);
    let chosen = match wanted {
        Some(name) => Some(find_wanted(&candidates, name, config)?),
        None => choose_best(&candidates, class_names),
    };
    let Some(candidate) = chosen else { return Err(no_control_error(config)) };
    let labels = match_labels(&candidate.control.labels, class_names);
    if labels.iter().all(Option::is_none) {
        return Err(Error::input(format!(
            "no label of <{} name={:?}> is a class of the model; its labels are {}, and the model's classes \
             {}: name them alike, in the labeling configuration or in the model's labels.json",
            candidate.control.tag,
            candidate.control.name,
            list_names(&candidate.control.labels),
            list_names(class_names)
        )));
    }
    let mut notes = describe_partners(candidate.control, &labels, class_names);
    if wanted.is_none() && candidates.len() > 1 {
        let mut others = Vec::new();
        for other in &candidates {
            if other.control.name != candidate.control.name {
                others.push(other.control.name.clone());
            }
        }
        notes.push(format!(
            "the labeling configuration has {} controls for regions of classes; {:?} gets the predictions, \
             because most of its labels are classes of the model (--control chooses another: {})",
            candidates.len(),
            candidate.control.name,
            others.join(", ")
        ));
    }
    let plan = ControlPlan {
        kind: candidate.kind,
        from_name: candidate.control.name.clone(),
        to_name: candidate.image_tag.name.clone(),
        image_tag: candidate.image_tag.clone(),
        labels,
    };
    Ok(PlannedControl { plan, notes })
}

/// A control tag that can be used.
struct Candidate<'a> {
    kind: RegionKind,
    control: &'a LabelControl,
    image_tag: &'a ImageTag,
}

/// Returns the control tags that can be used, in the order of the document. Tags without a name cannot,
/// nor those on lists of images.
fn find_candidates(config: &LabelConfig) -> Vec<Candidate<'_>> {
    let mut candidates = Vec::new();
    for control in &config.label_controls {
        let known = REGION_KINDS.iter().find(|(_, tag)| *tag == control.tag);
        let mut image_tags = config.image_tags.iter();
        let image_tag = image_tags
            .find(|image_tag| control.image_names.contains(&image_tag.name) && !image_tag.is_list);
        if let (Some(&(kind, _)), Some(image_tag)) = (known, image_tag)
            && !control.name.is_empty()
        {
            candidates.push(Candidate { kind, control, image_tag });
        }
    }
    candidates
}

fn find_wanted<'a, 'b>(
    candidates: &'b [Candidate<'a>],
    name: &str,
    config: &LabelConfig,
) -> Result<&'b Candidate<'a>> {
    if let Some(found) = candidates.iter().find(|candidate| candidate.control.name == name) {
        return Ok(found);
    }
    if candidates.is_empty() {
        return Err(no_control_error(config));
    }
    let mut names = Vec::new();
    for candidate in candidates {
        names.push(candidate.control.name.as_str());
    }
    let hint = did_you_mean(name, names.iter().copied());
    Err(Error::input(format!(
        "the labeling configuration has no control {name:?} that can get predictions; there are {}{hint}",
        names.join(", ")
    )))
}

/// Returns the candidate with the most labels of classes; of several the one of the preferred kind, then
/// the first.
fn choose_best<'a, 'b>(
    candidates: &'b [Candidate<'a>],
    class_names: &[String],
) -> Option<&'b Candidate<'a>> {
    let mut best: Option<(usize, &Candidate<'_>)> = None;
    for (kind, _) in REGION_KINDS {
        for candidate in candidates {
            if candidate.kind != kind {
                continue;
            }
            let matched = match_labels(&candidate.control.labels, class_names);
            let matched = matched.iter().flatten().count();
            if best.is_none_or(|(most, _)| matched > most) {
                best = Some((matched, candidate));
            }
        }
    }
    best.map(|(_, candidate)| candidate)
}

/// Returns the label of each class. Names are equal if their letters are, in any Unicode normalization; a
/// class without such a label takes one that differs in case alone.
fn match_labels(labels: &[String], class_names: &[String]) -> Vec<Option<String>> {
    let mut by_name = HashMap::new();
    let mut by_lower_case = HashMap::new();
    for label in labels {
        let name = normalize_name(label.trim());
        by_lower_case.entry(name.to_lowercase()).or_insert(label);
        by_name.entry(name.into_owned()).or_insert(label);
    }
    let mut matched = Vec::with_capacity(class_names.len());
    for class in class_names {
        let name = normalize_name(class.trim());
        let label = by_name.get(&*name).or_else(|| by_lower_case.get(&name.to_lowercase()));
        matched.push(label.map(|label| (*label).clone()));
    }
    matched
}

/// Tells which classes have no label, and which labels no class. Class 0 is the background, which most
/// configurations leave out.
fn describe_partners(
    control: &LabelControl,
    labels: &[Option<String>],
    class_names: &[String],
) -> Vec<String> {
    let mut notes = Vec::new();
    let mut lonely_classes = Vec::new();
    for (class, label) in class_names.iter().zip(labels).skip(1) {
        if label.is_none() {
            lonely_classes.push(class.clone());
        }
    }
    if !lonely_classes.is_empty() {
        notes.push(format!(
            "the control {:?} has no label for these classes of the model, which are left out: {}",
            control.name,
            list_names(&lonely_classes)
        ));
    }
    let mut lonely_labels = Vec::new();
    for label in &control.labels {
        if !labels.iter().flatten().any(|matched| matched == label) {
            lonely_labels.push(label.clone());
        }
    }
    if !lonely_labels.is_empty() {
        notes.push(format!(
            "the model has no class for these labels of the control {:?}, which get no predictions: {}",
            control.name,
            list_names(&lonely_labels)
        ));
    }
    notes
}

fn no_control_error(config: &LabelConfig) -> Error {
    let mut found = Vec::new();
    for control in &config.label_controls {
        found.push(format!("<{} name={:?}>", control.tag, control.name));
    }
    let found = if found.is_empty() { "none".to_owned() } else { found.join(", ") };
    Error::input(format!(
        "the labeling configuration has no control that can get predictions: {USABLE_TAGS} can, with a name, \
         on an <Image> that shows one image of the task; controls with labels on images are: {found}"
    ))
}

/// Lists names for a message, at most twenty.
fn list_names(names: &[String]) -> String {
    const MAX_LISTED: usize = 20;
    let shown = names[..names.len().min(MAX_LISTED)].join(", ");
    if names.len() > MAX_LISTED { format!("{shown}, ... ({} in all)", names.len()) } else { shown }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::annotations::label_config::parse_label_config;

    fn plan(xml: &str, classes: &[&str], wanted: Option<&str>) -> Result<PlannedControl> {
        let classes: Vec<String> = classes.iter().map(|name| (*name).to_owned()).collect();
        plan_control(&parse_label_config(xml.as_bytes()).unwrap(), &classes, wanted)
    }

    const TWO_CONTROLS: &str = "<View><Image name='img' value='$image'/>
        <PolygonLabels name='poly' toName='img'><Label value='Road'/></PolygonLabels>
        <BrushLabels name='brush' toName='img'><Label value='road'/><Label value='x' alias='e\u{301}cole'/>
        <Label value='sky'/></BrushLabels><RectangleLabels name='box' toName='img'><Label value='car'/>
        </RectangleLabels></View>";

    #[test]
    fn the_control_with_the_most_labels_of_classes_gets_the_predictions() {
        let planned =
            plan(TWO_CONTROLS, &["background", "road", "\u{e9}cole", "car"], None).unwrap();
        let plan = planned.plan;
        assert_eq!(
            (plan.kind, &*plan.from_name, &*plan.to_name),
            (RegionKind::Brush, "brush", "img")
        );
        assert_eq!(plan.labels, [None, Some("road".into()), Some("e\u{301}cole".into()), None]);
        let notes = planned.notes.join("\n");
        assert!(
            notes.contains("left out: car") && notes.contains("no predictions: sky"),
            "{notes}"
        );
        assert!(notes.contains("--control chooses another: poly"), "{notes}");
    }

    #[test]
    fn a_named_control_is_taken_and_case_may_differ() {
        let planned = plan(TWO_CONTROLS, &["background", "road"], Some("poly")).unwrap();
        assert_eq!(planned.plan.kind, RegionKind::Polygon);
        assert_eq!(planned.plan.labels, [None, Some("Road".into())]);
        assert_eq!(planned.notes, [""; 0]);
        let unknown = plan(TWO_CONTROLS, &["background", "road"], Some("brsh")).unwrap_err();
        assert!(unknown.to_string().contains("there are poly, brush"), "{unknown}");
        assert!(plan(TWO_CONTROLS, &["background", "road"], Some("box")).is_err());
    }

    #[test]
    fn a_configuration_that_cannot_be_used_is_told_with_what_it_has() {
        let boxes = "<View><Image name='i' value='$image'/><RectangleLabels name='box' toName='i'>
            <Label value='car'/></RectangleLabels></View>";
        let error = plan(boxes, &["background", "car"], None).unwrap_err().to_string();
        assert!(error.contains("<rectanglelabels name=\"box\">"), "{error}");
        let list = "<View><Image name='i' valueList='$images'/><BrushLabels name='b' toName='i'>
            <Label value='car'/></BrushLabels></View>";
        assert!(plan(list, &["background", "car"], None).is_err());
        let other = "<View><Image name='i' value='$image'/><BrushLabels name='b' toName='i'>
            <Label value='tree'/></BrushLabels></View>";
        let error = plan(other, &["background", "car"], None).unwrap_err().to_string();
        assert!(
            error.contains("its labels are tree") && error.contains("background, car"),
            "{error}"
        );
    }

    #[test]
    fn a_background_that_has_a_label_is_a_class_as_others() {
        let xml = "<View><Image name='i' value='$image'/><BitmaskLabels name='b' toName='i'>
            <Label value='background'/><Label value='car'/></BitmaskLabels></View>";
        let planned = plan(xml, &["background", "car"], None).unwrap();
        assert_eq!(planned.plan.labels, [Some("background".into()), Some("car".into())]);
        assert_eq!(planned.notes, [""; 0]);
    }
}
