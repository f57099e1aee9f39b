//! Distributions as pictures.

use std::path::Path;

use anyhow::{Result, anyhow};
use plotters::prelude::{
    BLUE, ChartBuilder, GREEN, IntoDrawingArea, IntoLogRange, LineSeries, MAGENTA, PathElement,
    RED, RGBColor, SVGBackend, SeriesLabelPosition, WHITE,
};

/// Draws, for each curve, which share of its sorted latencies lies below how many milliseconds.
pub(crate) fn latencies(
    path: &Path,
    title: &str,
    curves: &[(&'static str, Vec<f64>)],
) -> Result<()> {
    let draw = || -> Result<(), Box<dyn std::error::Error>> {
        let area = SVGBackend::new(path, (900, 540)).into_drawing_area();
        area.fill(&WHITE)?;
        let all = curves.iter().flat_map(|(_, latencies)| latencies);
        let least = all.clone().copied().fold(f64::MAX, f64::min).max(1.0);
        let most = all.copied().fold(least * 10.0, f64::max);
        let mut chart = ChartBuilder::on(&area)
            .caption(title, ("sans-serif", 20))
            .margin(16)
            .x_label_area_size(44)
            .y_label_area_size(56)
            .build_cartesian_2d((least..most).log_scale(), 0.0..1.0)?;
        chart
            .configure_mesh()
            .x_desc("milliseconds from the source until the block is verified")
            .y_desc("share of (block, peer)")
            .draw()?;
        for ((name, latencies), colour) in curves.iter().zip(COLOURS) {
            let count = latencies.len().max(1) as f64;
            let steps = latencies.iter().enumerate();
            let line = steps.map(|(rank, at)| (at.max(least), (rank + 1) as f64 / count));
            chart
                .draw_series(LineSeries::new(line, colour))?
                .label(*name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], colour));
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::LowerRight)
            .border_style(RGBColor(160, 160, 160))
            .background_style(WHITE)
            .draw()?;
        area.present()?;
        Ok(())
    };
    draw().map_err(|error| anyhow!("cannot draw {}: {error}", path.display()))
}

const COLOURS: [RGBColor; 6] =
    [BLUE, RED, GREEN, MAGENTA, RGBColor(230, 140, 0), RGBColor(0, 150, 150)];
