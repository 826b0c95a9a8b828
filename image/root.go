package image

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"casemate/image/debian"
	"casemate/initramfs"
)

// kernel is the node tree's one kernel.
type kernel struct {
	version string
	image   string // path in the tree
	modules *initramfs.Modules
	dir     string // of its modules, in the tree
}

// findKernel finds the kernel and reads its modules' dependencies. depmod needs
// some seconds, so its answer is kept in work, by the tree it is about.
func findKernel(ctx context.Context, node, tools *debian.Tree, work string) (*kernel, error) {
	images, err := filepath.Glob(node.Path("boot/vmlinuz-*"))
	if err != nil {
		return nil, err
	}
	if len(images) != 1 {
		return nil, fmt.Errorf("find the kernel: the packages of the set %q have %d, want 1", node.Name, len(images))
	}
	k := &kernel{image: "boot/" + filepath.Base(images[0])}
	k.version = strings.TrimPrefix(k.image, "boot/vmlinuz-")
	k.dir = "usr/lib/modules/" + k.version

	kept := filepath.Join(work, "depmod-"+node.Key[:16]+"-"+tools.Key[:16])
	if _, err := os.Stat(kept); err != nil {
		part := kept + ".part"
		if err := os.RemoveAll(part); err != nil {
			return nil, err
		}
		if err := os.MkdirAll(part, 0o755); err != nil {
			return nil, err
		}
		cmd := tools.Command(ctx, "depmod", "-b", node.Root, "-o", part, k.version)
		if out, err := cmd.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("find the modules' dependencies with depmod: %w: %s", err, out)
		}
		if err := os.Rename(part, kept); err != nil {
			return nil, err
		}
	}
	k.modules, err = initramfs.ReadModules(filepath.Join(kept, "lib/modules", k.version), node.Path(k.dir))
	return k, err
}

// builder collects entries from the node's tree.
type builder struct {
	profile *Profile
	node    *debian.Tree
	kernel  *kernel
}

// file makes an entry of a file of the tree, for the path name of the image.
func (b *builder) file(name, source string) (initramfs.Entry, error) {
	p, f, ok := b.node.Owner(source)
	if !ok || f.Link != "" {
		return initramfs.Entry{}, fmt.Errorf("find %s: no package of the set %q has this file", source, b.node.Name)
	}
	mode := os.FileMode(0o644)
	if f.Exec {
		mode = 0o755
	}
	return initramfs.Entry{
		Path: "/" + name, Mode: mode, Source: b.node.Path(source), Digest: f.SHA256, Origin: p.Name,
	}, nil
}

func (b *builder) module(name, file string) (initramfs.Entry, error) {
	e, err := b.file(file, path.Join(b.kernel.dir, b.kernel.modules.File(name)))
	e.XZ = strings.HasSuffix(e.Source, ".xz")
	e.Mode = 0o644
	return e, err
}

// root gives the entries of the root file system, without labels. nodeBinary is
// casemate-node; config, if any, is the embedded node configuration.
func (b *builder) root(nodeBinary string, config []byte) ([]initramfs.Entry, error) {
	t := initramfs.NewTree()
	for _, dir := range b.profile.Directories {
		if err := t.Add(initramfs.Entry{Path: "/" + dir, Mode: os.ModeDir | 0o755}); err != nil {
			return nil, err
		}
	}
	for _, l := range b.profile.Links {
		if err := t.Add(initramfs.Entry{Path: "/" + l.Path, Mode: os.ModeSymlink | 0o777, Link: l.Target}); err != nil {
			return nil, err
		}
	}
	if err := t.Add(initramfs.Entry{Path: "/usr/sbin/casemate-node", Mode: 0o755, Source: nodeBinary}); err != nil {
		return nil, err
	}
	if config != nil {
		// It may hold the node's private key.
		if err := t.Add(initramfs.Entry{Path: "/etc/casemate/casemate.yaml", Mode: 0o600, Data: config}); err != nil {
			return nil, err
		}
	}
	release, err := b.release()
	if err != nil {
		return nil, err
	}
	if err := t.Add(release); err != nil {
		return nil, err
	}
	for _, add := range []func(*initramfs.Tree) error{b.addPrograms, b.addFiles, b.addModules} {
		if err := add(t); err != nil {
			return nil, err
		}
	}
	return t.Entries(), nil
}

// release tells vmhostd what it runs with: asking QEMU for its version would
// take a process at each start.
func (b *builder) release() (initramfs.Entry, error) {
	release := map[string]string{"kernel": b.kernel.version}
	for _, p := range b.node.Packages {
		if p.Name == "qemu-system-x86" {
			release["qemu"] = upstreamVersion(p.Version)
		}
	}
	data, err := json.Marshal(release)
	return initramfs.Entry{Path: "/etc/casemate/release.json", Mode: 0o644, Data: append(data, '\n')}, err
}

// upstreamVersion gives 10.0.13 for 1:10.0.13+ds-0+deb13u1.
func upstreamVersion(version string) string {
	if _, after, ok := strings.Cut(version, ":"); ok {
		version = after
	}
	if i := strings.LastIndex(version, "-"); i >= 0 {
		version = version[:i]
	}
	version, _, _ = strings.Cut(version, "+")
	return version
}

func (b *builder) addPrograms(t *initramfs.Tree) error {
	objects, err := initramfs.ELFClosure(b.node.Root, slices.Concat(b.profile.Programs, b.profile.Plugins))
	if err != nil {
		return fmt.Errorf("collect the profile's programs: %w", err)
	}
	for _, o := range objects {
		e, err := b.file(o.Path, o.Source)
		if err != nil {
			return err
		}
		if err := t.Add(e); err != nil {
			return err
		}
	}
	return nil
}

func (b *builder) addFiles(t *initramfs.Tree) error {
	for _, name := range b.profile.Files {
		source, err := initramfs.Resolve(b.node.Root, name)
		if err != nil {
			return fmt.Errorf("collect the profile's files: no package of the set %q has it: %w", b.node.Name, err)
		}
		e, err := b.file(name, source)
		if err != nil {
			return err
		}
		if err := t.Add(e); err != nil {
			return err
		}
	}
	return nil
}

func (b *builder) addModules(t *initramfs.Tree) error {
	names, err := b.kernel.modules.Closure(b.profile.Modules.Node)
	if err != nil {
		return fmt.Errorf("collect the profile's modules: %w", err)
	}
	for _, name := range names {
		file := strings.TrimSuffix(b.kernel.modules.File(name), ".xz")
		e, err := b.module(name, path.Join(b.kernel.dir, file))
		if err != nil {
			return err
		}
		if err := t.Add(e); err != nil {
			return err
		}
	}
	for name, data := range b.kernel.modules.Index(names) {
		if err := t.Add(initramfs.Entry{Path: path.Join("/", b.kernel.dir, name), Mode: 0o644, Data: data}); err != nil {
			return err
		}
	}
	return nil
}

// early gives the entries beside the root in the initramfs.
func (b *builder) early(stage0, policy string) ([]initramfs.Entry, error) {
	t := initramfs.NewTree()
	entries := []initramfs.Entry{
		{Path: "/init", Mode: 0o755, Source: stage0},
		{Path: "/" + filepath.Base(policy), Mode: 0o644, Source: policy},
		{Path: "/dev/console", Mode: os.ModeDevice | os.ModeCharDevice | 0o600, Major: 5, Minor: 1},
	}
	for _, dir := range []string{"/dev", "/proc", "/sys", "/run", "/root"} {
		t.Dir(dir, 0o755)
	}
	names, err := b.kernel.modules.Closure(b.profile.Modules.Stage0)
	if err != nil {
		return nil, fmt.Errorf("collect stage0's modules: %w", err)
	}
	var order strings.Builder
	for _, name := range names {
		file := path.Base(strings.TrimSuffix(b.kernel.modules.File(name), ".xz"))
		e, err := b.module(name, "modules/"+file)
		if err != nil {
			return nil, err
		}
		entries = append(entries, e)
		fmt.Fprintln(&order, file)
	}
	entries = append(entries, initramfs.Entry{Path: "/modules/order", Mode: 0o644, Data: []byte(order.String())})
	for _, e := range entries {
		if err := t.Add(e); err != nil {
			return nil, err
		}
	}
	return t.Entries(), nil
}

// tool gives a function that makes commands of one program of a tree.
func tool(t *debian.Tree, program string) func(context.Context, ...string) *exec.Cmd {
	return func(ctx context.Context, args ...string) *exec.Cmd { return t.Command(ctx, program, args...) }
}
