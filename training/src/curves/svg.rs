//! Panels as SVG: axes, lines, marks and words, written out by hand, without a drawing library.
//!
//! Not for what is shown. Invariant: whatever is drawn lies within the picture, and names that are longer than their panel are
//! shortened, with the whole name as a tooltip.

use std::fmt::Write as _;
use std::ops::Range;

use super::Point;
use super::panels::{Kind, Line, Panel, Panels};

const WIDTH: f64 = 1080.0;
const MARGIN: f64 = 16.0;
/// Of the words above all panels.
const HEAD: f64 = 46.0;
const LARGE: Size = Size { height: 320.0, font: 13.0, ticks: [8, 6] };
const SMALL: Size = Size { height: 168.0, font: 11.0, ticks: [5, 5] };
/// Small panels side by side.
const COLUMNS: usize = 3;
/// A letter's mean width over its height.
const LETTER: f64 = 0.56;

/// How a panel is drawn.
#[derive(Clone, Copy)]
struct Size {
    height: f64,
    font: f64,
    /// The most ticks, of epochs and of values.
    ticks: [usize; 2],
}

/// A rectangle of the picture.
#[derive(Clone, Copy)]
pub(super) struct Area {
    pub left: f64,
    pub top: f64,
    pub width: f64,
    pub height: f64,
}

/// From epochs and values to places.
pub(super) struct Axes {
    pub area: Area,
    pub epochs: Range<f64>,
    pub values: Range<f64>,
}

/// The picture.
pub(super) fn of(panels: &Panels) -> String {
    let (large, small) = panels.all.split_at(panels.large);
    let rows = small.len().div_ceil(COLUMNS);
    let height = HEAD + LARGE.height + rows as f64 * SMALL.height + MARGIN;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"sans-serif\" fill=\"#222\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    head(&mut svg, panels);
    let points = panels.all.iter().flat_map(|panel| &panel.lines).flat_map(Line::points);
    let epochs = range(points.map(|point| point.0));
    let grids = [(large, large.len(), LARGE, HEAD), (small, COLUMNS, SMALL, HEAD + LARGE.height)];
    for (panels_here, columns, size, top) in grids {
        let width = (WIDTH - 2.0 * MARGIN) / columns as f64;
        for (place, panel) in panels_here.iter().enumerate() {
            let (row, column) = (place / columns, place % columns);
            let left = MARGIN + column as f64 * width;
            let area = Area { left, top: top + row as f64 * size.height, width, height: size.height };
            draw(&mut svg, panels, panel, (area, size), &epochs);
        }
    }
    svg + "</svg>\n"
}

/// What lines and marks mean, and the best epoch.
fn head(svg: &mut String, panels: &Panels) {
    let y = 28.0;
    let sample = |svg: &mut String, x: f64, dashes: &str, width: f64| {
        let _ = writeln!(
            svg,
            "<line x1=\"{x}\" y1=\"{0}\" x2=\"{1}\" y2=\"{0}\" stroke=\"#222\" stroke-width=\"{width}\"{dashes}/>",
            y - 4.0,
            x + 34.0
        );
    };
    sample(svg, MARGIN, "", 2.0);
    text(svg, [MARGIN + 42.0, y], "start", 13.0, "train");
    sample(svg, 110.0, DASHES, 2.0);
    text(svg, [152.0, y], "start", 13.0, "validation");
    if panels.runs > 1 {
        sample(svg, 244.0, "", 0.8);
        text(svg, [286.0, y], "start", 13.0, &format!("one of {} runs; bold: their mean", panels.runs));
    }
    if let Some(best) = &panels.best {
        let value = label(best.value, best.value.abs() / 1000.0);
        let of_mean = if panels.runs > 1 { " (of the mean)" } else { "" };
        let words = format!("best {}: {value}, epoch {}{of_mean}", best.select, label(best.epoch, 0.01));
        let x = WIDTH - MARGIN;
        text(svg, [x, y], "end", 13.0, &words);
        let start = x - words.chars().count() as f64 * 13.0 * LETTER - 14.0;
        let _ = writeln!(svg, "<circle cx=\"{start:.1}\" cy=\"{}\" r=\"4.5\" fill=\"#222\"/>", y - 4.5);
    }
}

const DASHES: &str = " stroke-dasharray=\"6 4\"";

/// Colours that the colour-blind can tell apart (Okabe and Ito, 2008).
fn colour(kind: Kind) -> &'static str {
    match kind {
        Kind::Score => "#0072b2",
        Kind::Loss => "#d55e00",
        Kind::Step => "#777777",
        Kind::Machine => "#b3b3b3",
    }
}

fn draw(svg: &mut String, panels: &Panels, panel: &Panel, (area, size): (Area, Size), epochs: &Range<f64>) {
    let values = range(panel.lines.iter().flat_map(Line::points).map(|point| point.1));
    let [above, beside, below] = [size.font + 14.0, 4.4 * size.font, size.font + 14.0];
    let inner = Area {
        left: area.left + beside,
        top: area.top + above,
        width: area.width - beside - 14.0,
        height: area.height - above - below,
    };
    let axes = Axes { area: inner, epochs: epochs.clone(), values };
    title(svg, panels, panel, inner, size);
    grid(svg, &axes, size);
    let colour = colour(panel.kind);
    if let Some(best) = &panels.best {
        let x = axes.x(best.epoch);
        let (top, bottom) = (inner.top, inner.top + inner.height);
        let _ = writeln!(
            svg,
            "<line x1=\"{x:.1}\" y1=\"{top}\" x2=\"{x:.1}\" y2=\"{bottom}\" stroke=\"#222\" stroke-width=\"0.8\" \
             stroke-dasharray=\"2 3\"/>"
        );
    }
    for line in &panel.lines {
        draw_line(svg, &axes, line, colour, size);
    }
    let marked = panels.best.as_ref().and_then(|best| Some((best.epoch, at_best(panel, best.epoch)?)));
    if let Some(point) = marked {
        dot(svg, &axes, point, colour, size.font / 3.0);
    }
}

/// The validation's value at the best epoch.
fn at_best(panel: &Panel, epoch: f64) -> Option<f64> {
    panel.lines.iter().find(|line| line.is_validation)?.at(epoch)
}

/// The metric's name, and the validation's value at the best epoch at the other end.
fn title(svg: &mut String, panels: &Panels, panel: &Panel, inner: Area, size: Size) {
    let value = panels.best.as_ref().and_then(|best| at_best(panel, best.epoch));
    let value = value.map_or(String::new(), |value| label(value, value.abs() / 1000.0));
    let y = inner.top - 7.0;
    let room = inner.width - (value.chars().count() + 2) as f64 * size.font * LETTER;
    let most = (room / (size.font * LETTER)) as usize;
    let short: String = if panel.name.chars().count() > most {
        panel.name.chars().take(most.saturating_sub(1)).chain(['…']).collect()
    } else {
        panel.name.clone()
    };
    let _ = writeln!(
        svg,
        "<text x=\"{:.1}\" y=\"{y:.1}\" font-size=\"{}\" font-weight=\"bold\">{}<title>{}</title></text>",
        inner.left,
        size.font,
        escaped(&short),
        escaped(&panel.name)
    );
    text(svg, [inner.left + inner.width, y], "end", size.font, &value);
}

fn grid(svg: &mut String, axes: &Axes, size: Size) {
    let Area { left, top, width, height } = axes.area;
    let (right, bottom) = (left + width, top + height);
    let (values, step) = ticks(&axes.values, size.ticks[1]);
    for value in values {
        let y = axes.y(value);
        let _ = writeln!(svg, "<path d=\"M{left:.1} {y:.1}H{right:.1}\" stroke=\"#e3e3e3\"/>");
        text(svg, [left - 6.0, y + size.font / 3.0], "end", size.font - 1.0, &label(value, step));
    }
    let (epochs, step) = ticks(&axes.epochs, size.ticks[0]);
    for epoch in epochs {
        let x = axes.x(epoch);
        let _ = writeln!(svg, "<path d=\"M{x:.1} {bottom:.1}v4\" stroke=\"#999\"/>");
        text(svg, [x, bottom + size.font + 5.0], "middle", size.font - 1.0, &label(epoch, step));
    }
    text(svg, [left - 6.0, bottom + size.font + 5.0], "end", size.font - 1.0, "epoch");
    let _ = writeln!(svg, "<path d=\"M{left:.1} {top:.1}V{bottom:.1}H{right:.1}\" fill=\"none\" stroke=\"#999\"/>");
}

fn draw_line(svg: &mut String, axes: &Axes, line: &Line, colour: &str, size: Size) {
    let dashes = if line.is_validation { DASHES } else { "" };
    let bold = if size.height > SMALL.height { 2.4 } else { 1.7 };
    for run in &line.runs {
        polyline(svg, axes, run, &format!("stroke=\"{colour}\" stroke-width=\"0.8\" stroke-opacity=\"0.45\"{dashes}"));
    }
    polyline(svg, axes, &line.mean, &format!("stroke=\"{colour}\" stroke-width=\"{bold}\"{dashes}"));
    // A line of one point is not to be seen.
    if let &[point] = line.mean.as_slice() {
        dot(svg, axes, point, colour, size.font / 3.0);
    }
}

pub(super) fn polyline(svg: &mut String, axes: &Axes, points: &[Point], style: &str) {
    if points.len() < 2 {
        return;
    }
    let places: Vec<String> =
        points.iter().map(|&(epoch, value)| format!("{:.1},{:.1}", axes.x(epoch), axes.y(value))).collect();
    let _ =
        writeln!(svg, "<polyline points=\"{}\" fill=\"none\" stroke-linejoin=\"round\" {style}/>", places.join(" "));
}

fn dot(svg: &mut String, axes: &Axes, (epoch, value): Point, colour: &str, radius: f64) {
    let (x, y) = (axes.x(epoch), axes.y(value));
    let _ = writeln!(svg, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius:.1}\" fill=\"{colour}\" stroke=\"white\"/>");
}

pub(super) fn text(svg: &mut String, [x, y]: [f64; 2], anchor: &str, size: f64, words: &str) {
    let words = escaped(words);
    let _ =
        writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" font-size=\"{size}\" text-anchor=\"{anchor}\">{words}</text>");
}

pub(super) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

impl Axes {
    pub fn x(&self, epoch: f64) -> f64 {
        self.area.left + share(&self.epochs, epoch) * self.area.width
    }

    pub fn y(&self, value: f64) -> f64 {
        self.area.top + (1.0 - share(&self.values, value)) * self.area.height
    }
}

fn share(range: &Range<f64>, value: f64) -> f64 {
    (value - range.start) / (range.end - range.start)
}

/// From the least to the greatest value, and a little more.
pub(super) fn range(values: impl Iterator<Item = f64>) -> Range<f64> {
    let (least, greatest) =
        values.fold((f64::INFINITY, f64::NEG_INFINITY), |(least, most), value| (least.min(value), most.max(value)));
    let margin = match greatest - least {
        0.0 if least == 0.0 => 0.5,
        0.0 => least.abs() / 2.0,
        height => 0.04 * height,
    };
    least - margin..greatest + margin
}

/// At most so many round numbers in a range, and the step between them: 1, 2 or 5 times a power of ten.
pub(super) fn ticks(range: &Range<f64>, most: usize) -> (Vec<f64>, f64) {
    let rough = (range.end - range.start) / most as f64;
    let power = 10f64.powf(rough.log10().floor());
    let step =
        [1.0, 2.0, 5.0, 10.0].map(|factor| factor * power).into_iter().find(|step| *step >= rough).unwrap_or(rough);
    let first = (range.start / step).ceil() as i64;
    let last = (range.end / step).floor() as i64;
    ((first..=last).map(|number| number as f64 * step).collect(), step)
}

/// A number with as many digits as tell it from one that is `step` away; very small and very large ones by their powers of
/// ten.
pub(super) fn label(value: f64, step: f64) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    if value.abs() < 1e-3 || value.abs() >= 1e6 {
        return format!("{value:.1e}");
    }
    let digits = (-step.abs().max(1e-9).log10().floor()).clamp(0.0, 5.0) as usize;
    let text = format!("{value:.digits$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constants_have_room_above_and_below() {
        assert_eq!(range([0.5, 0.5].into_iter()), 0.25..0.75);
        assert_eq!(range([0.0].into_iter()), -0.5..0.5);
        assert_eq!(range([0.0, 100.0, 50.0].into_iter()), -4.0..104.0);
    }

    #[test]
    fn ticks_are_round_and_not_too_many() {
        assert_eq!(ticks(&(-0.04..1.04), 6), (vec![0.0, 0.2, 0.4, 0.6000000000000001, 0.8, 1.0], 0.2));
        assert_eq!(ticks(&(0.7..30.4), 5).0, [10.0, 20.0, 30.0]);
        for (range, most) in [(1e-5..3e-4, 4), (-3.0..900.0, 8), (0.25..0.75, 4)] {
            let count = ticks(&range, most).0.len();
            assert!((2..=most + 1).contains(&count), "{range:?}: {count}");
        }
        let labels = |value: f64, step: f64| label(value, step);
        assert_eq!([labels(0.6000000000000001, 0.2), labels(20.0, 10.0), labels(1e-4, 1e-4)], ["0.6", "20", "1.0e-4"]);
        assert_eq!([labels(0.93412, 0.0009), labels(0.0, 0.2), labels(7.0, 0.01)], ["0.9341", "0", "7"]);
    }
}
