//! Commands that measure.

use nuwa_data::{Picture, out};
use nuwa_model::render::TokenGrid;

use super::args::{CopyDistanceArgs, ReconstructArgs};
use super::events::{self, Event};
use super::load;
use super::outputs::say_paths;
use crate::canvas;
use crate::copy_distance::nearest_patches;
use crate::task::{Layout, PointPx, SizePx};

pub(super) fn reconstruct(args: &ReconstructArgs) -> anyhow::Result<()> {
    let picture = Picture::read(&args.image)?;
    if let Some(out) = &args.out {
        out::check(out, picture.w(), picture.h(), 1)?;
    }
    let run = load(&args.common)?;
    let size = SizePx::of(&picture);
    let layout = Layout::new(size, PointPx { x: 0, y: 0 }, run.scale())?;
    let grid = layout.tokens();
    let codes = run.encode(&picture, [grid.h, grid.w]);
    let tokens = TokenGrid::new(1, grid, codes.clone());
    let back = canvas::picture(&run, &tokens, &layout);
    let mut codes = codes;
    codes.sort_unstable();
    codes.dedup();
    let (psnr_db, codes_used) = (picture.psnr(&back), codes.len());
    let codes = run.vqgan_config.n_codes;
    match args.common.json {
        true => events::say(&Event::Measured {
            psnr_db,
            codes_used,
            codes,
        }),
        false => say!(
            "{}: {psnr_db:.2} dB PSNR, {codes_used} of {codes} codes in use",
            args.image.display()
        ),
    }
    if let Some(out) = &args.out {
        back.write(out)?;
    }
    say_paths(None, args.out.as_slice(), &args.common);
    events::say_done(&args.common);
    Ok(())
}

pub(super) fn copy_distance(args: &CopyDistanceArgs) -> anyhow::Result<()> {
    let (painting, source) = (Picture::read(&args.image)?, Picture::read(&args.source)?);
    let mut found = nearest_patches(&painting, &source, args.patch as usize);
    found.sort_by(|a, b| a.rms.total_cmp(&b.rms));
    let (Some(least), Some(most)) = (found.first(), found.last()) else {
        let side = args.patch;
        anyhow::bail!("a picture is smaller than one patch of {side} × {side} px");
    };
    let median = found[found.len() / 2].rms;
    say!(
        "{} patches of {} px: nearest in {}, RMS in steps of 255: median {median:.1}, least {:.1} \
         (at {},{} from {},{}), most {:.1}",
        found.len(),
        args.patch,
        args.source.display(),
        least.rms,
        least.x,
        least.y,
        least.source_x,
        least.source_y,
        most.rms
    );
    Ok(())
}
