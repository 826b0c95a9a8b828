package image

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/mattn/go-isatty"
	"github.com/schollz/progressbar/v3"
)

// Progress shows a build's steps: as bars on a terminal, as a line at each
// step's end elsewhere.
type Progress struct {
	mu    sync.Mutex
	w     io.Writer
	tty   bool
	name  string
	start time.Time
	bar   *progressbar.ProgressBar
}

// NewProgress shows progress on f.
func NewProgress(f *os.File) *Progress {
	return &Progress{w: f, tty: isatty.IsTerminal(f.Fd())}
}

// Report is a debian.Report.
func (p *Progress) Report(step string, done, total int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if step != p.name {
		p.name, p.start = step, time.Now()
		if p.tty {
			p.bar = progressbar.NewOptions64(total,
				progressbar.OptionSetWriter(p.w), progressbar.OptionSetDescription(step),
				progressbar.OptionShowBytes(total > 1<<16), progressbar.OptionSetWidth(30),
				progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionClearOnFinish(),
				progressbar.OptionSetPredictTime(false), progressbar.OptionSetElapsedTime(false))
		} else if total > 1 {
			fmt.Fprintf(p.w, "%s ...\n", step)
		}
	}
	if p.bar != nil {
		// It fails only if the terminal does; the build need not.
		_ = p.bar.Set64(done)
	}
	if done >= total {
		if p.bar != nil {
			_ = p.bar.Finish()
			p.bar = nil
		}
		fmt.Fprintf(p.w, "%s: %.1fs\n", step, time.Since(p.start).Seconds())
		p.name = ""
	}
}

// Note prints a sentence for the user.
func (p *Progress) Note(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.bar != nil {
		_ = p.bar.Clear()
	}
	fmt.Fprintf(p.w, "note: %s\n", text)
}
