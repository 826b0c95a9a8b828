package qemutests

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"casemate/qemu-tests/lab"

	"github.com/u-root/u-root/pkg/cpio"
)

// BenchmarkBoot boots the node by PXE and, in the same run and the same
// machine, its floor: the same kernel with a trivial init. Both figures are the
// kernel's own uptime; x-floor is their ratio.
func BenchmarkBoot(b *testing.B) {
	site := openedSite(b)
	initramfs := floorInitramfs(b)
	var node, floor float64
	for b.Loop() {
		ctx, cancel := context.WithTimeout(b.Context(), 2*bootTime)
		floor += bootFloor(ctx, b, site, initramfs)
		cfg, err := site.Machine()
		if err != nil {
			b.Fatal(err)
		}
		cfg.Name = "bench"
		n, err := site.Boot(ctx, cfg)
		cancel()
		if err != nil {
			b.Fatal(err)
		}
		n.Stop()
		node += n.Ready.Uptime
	}
	b.ReportMetric(node/float64(b.N), "s-to-ready")
	b.ReportMetric(floor/float64(b.N), "s-floor")
	b.ReportMetric(node/floor, "x-floor")
}

func floorInitramfs(b *testing.B) string {
	dir := b.TempDir()
	program := filepath.Join(dir, "floor")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", program, "casemate/qemu-tests/floor")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("build floor: %v: %s", err, out)
	}
	text, err := os.ReadFile(program)
	if err != nil {
		b.Fatal(err)
	}
	file := filepath.Join(dir, "floor.img")
	archive := lab.Archive(cpio.StaticFile("init", string(text), 0o755), cpio.Directory("dev", 0o755),
		cpio.Directory("proc", 0o755), cpio.CharDev("dev/console", 0o600, 5, 1))
	if err := os.WriteFile(file, archive, 0o600); err != nil {
		b.Fatal(err)
	}
	return file
}

// bootFloor gives the uptime in seconds at which the trivial init runs.
func bootFloor(ctx context.Context, b *testing.B, site *lab.Site, initramfs string) float64 {
	cfg, err := site.Machine()
	if err == nil {
		cfg.Name = "floor"
		cfg, err = site.Direct(cfg, nil)
	}
	if err != nil {
		b.Fatal(err)
	}
	cfg.Initrd = initramfs
	m, err := lab.Start(ctx, cfg)
	if err != nil {
		b.Fatal(err)
	}
	defer m.Stop()
	line, err := m.Console.Expect(ctx, `floor: uptime=([0-9.]+)`)
	if err != nil {
		b.Fatalf("%v\n%s", err, m.Report())
	}
	uptime, err := strconv.ParseFloat(strings.TrimSpace(line[1]), 64)
	if err != nil {
		b.Fatal(err)
	}
	return uptime
}
