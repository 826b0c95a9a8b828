package image

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"casemate/image/debian"
	"casemate/initramfs"
	"casemate/policy"
)

// workName is the directory below the outputs that holds what the next build
// can use again.
const workName = ".work"

// Options are a build's choices; the zero value is a build in the working
// directory into out.
type Options struct {
	// Source is casemate's source directory; empty means found from here upwards.
	Source string
	// Out is the output directory; empty means out in Source.
	Out string
	// Config, if any, is a node configuration to embed. It is not checked here.
	Config []byte
	// Append is added to the kernel command line.
	Append string
	// Fetcher fetches the packages; nil means the default one. Its Report and
	// Note are told about the whole build.
	Fetcher *debian.Fetcher
	// Profile is what to build; nil means DefaultProfile.
	Profile *Profile
}

// Result is what a build made.
type Result struct {
	Out      string
	Manifest *Manifest
}

// Build makes an image and writes it to the output directory.
func Build(ctx context.Context, o Options) (*Result, error) {
	b, err := newBuild(o)
	if err != nil {
		return nil, err
	}
	lock, err := os.OpenFile(filepath.Join(b.work, "lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, fmt.Errorf("build into %s: another build is doing that (lock: %w)", b.Out, err)
	}
	result, err := b.run(ctx)
	if errors.Is(err, syscall.ENOSPC) && !strings.Contains(err.Error(), "disk full") {
		err = fmt.Errorf("%w (disk full: make room in %s)", err, b.Out)
	}
	return result, err
}

type build struct {
	Options
	work  string
	trees map[string]*debian.Tree
	builder
	policy policy.Compiled
}

func newBuild(o Options) (_ *build, err error) {
	if o.Source == "" {
		o.Source = "."
	}
	if o.Source, err = FindSource(o.Source); err != nil {
		return nil, err
	}
	if o.Out == "" {
		o.Out = filepath.Join(o.Source, "out")
	}
	if o.Out, err = filepath.Abs(o.Out); err != nil {
		return nil, err
	}
	// iPXE would read $ and && and || as its own, and a newline ends its line.
	if strings.ContainsAny(o.Append, "\n\r$") || strings.Contains(o.Append, "&&") || strings.Contains(o.Append, "||") {
		return nil, fmt.Errorf("append %q to the kernel command line: newlines, $, && and || are not allowed", o.Append)
	}
	if o.Profile == nil {
		if o.Profile, err = DefaultProfile(); err != nil {
			return nil, err
		}
	}
	if o.Fetcher == nil {
		o.Fetcher = &debian.Fetcher{}
	}
	if o.Fetcher.Report == nil {
		o.Fetcher.Report = func(string, int64, int64) {}
	}
	b := &build{Options: o, work: filepath.Join(o.Out, workName)}
	return b, os.MkdirAll(b.work, 0o755)
}

// step runs f as one step of the progress.
func (b *build) step(name string, f func() error) error {
	b.Fetcher.Report(name, 0, 1)
	if err := f(); err != nil {
		return err
	}
	b.Fetcher.Report(name, 1, 1)
	return nil
}

func (b *build) run(ctx context.Context) (_ *Result, err error) {
	if b.trees, err = b.Profile.trees(ctx, b.Fetcher, "node", "tools"); err != nil {
		return nil, err
	}
	node, tools := b.trees["node"], b.trees["tools"]
	bin := filepath.Join(b.work, "bin")
	err = b.step("build casemate's programs", func() error { return goBuild(ctx, b.Source, bin) })
	if err != nil {
		return nil, err
	}
	err = b.step("compile the policy", func() error {
		dir := filepath.Join(b.work, "policy")
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		b.policy, err = policy.Compile(ctx, tool(tools, "secilc"), dir)
		return err
	})
	if err != nil {
		return nil, err
	}
	b.builder = builder{profile: b.Profile, node: node}
	err = b.step("find the kernel's modules", func() error {
		b.kernel, err = findKernel(ctx, node, tools, b.work)
		return err
	})
	if err != nil {
		return nil, err
	}
	rootImage, rootEntries, err := b.packRoot(ctx, bin)
	if err != nil {
		return nil, err
	}
	var files []staged
	var early []initramfs.Entry
	err = b.step("pack the initramfs", func() error {
		files, early, err = b.assemble(bin, rootImage)
		return err
	})
	if err != nil {
		return nil, err
	}
	if err := checkLimit(b.Profile.Limit, files, rootEntries); err != nil {
		return nil, err
	}
	manifest, files, err := b.manifest(files, early, rootEntries)
	if err != nil {
		return nil, err
	}
	return &Result{Out: b.Out, Manifest: manifest}, install(b.Out, files)
}
