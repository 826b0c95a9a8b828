package image

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"casemate/image/debian"
	"casemate/initramfs"
)

// assemble makes the artefacts in the work directory.
func (b *build) assemble(bin, rootImage string) ([]staged, []initramfs.Entry, error) {
	early, err := b.early(filepath.Join(bin, "casemate-stage0"), b.policy.Policy)
	if err != nil {
		return nil, nil, err
	}
	root := []initramfs.Entry{{Path: "/root.erofs", Mode: 0o644, Source: rootImage, Origin: initramfs.Own}}
	initrd := filepath.Join(b.work, "initramfs.img")
	err = writeTo(initrd, func(w io.Writer) error { return initramfs.WriteInitramfs(w, root, early) })
	if err != nil {
		return nil, nil, err
	}
	script := filepath.Join(b.work, "boot.ipxe")
	text := fmt.Sprintf("#!ipxe\nkernel vmlinuz initrd=initramfs.img %s\ninitrd initramfs.img\nboot\n", b.commandLine())
	if err := os.WriteFile(script, []byte(text), 0o644); err != nil {
		return nil, nil, err
	}
	// Copies: the tree is the cache's, and the next build wants the others again.
	copies := map[string]string{
		"vmlinuz":       b.node.Path(b.kernel.image),
		"casemate":      filepath.Join(bin, "casemate"),
		"policy.33":     b.policy.Policy,
		"file_contexts": b.policy.FileContexts,
	}
	for name, source := range copies {
		err := writeTo(filepath.Join(b.work, name), func(w io.Writer) error { return copyFile(w, source) })
		if err != nil {
			return nil, nil, err
		}
	}
	if err := b.checkKernel(filepath.Join(b.work, "vmlinuz")); err != nil {
		return nil, nil, err
	}
	var files []staged
	for _, f := range []struct {
		name string
		mode os.FileMode
	}{
		{"pxe/vmlinuz", 0o644}, {"pxe/initramfs.img", 0o644}, {"pxe/boot.ipxe", 0o644},
		{"policy/policy.33", 0o644}, {"policy/file_contexts", 0o644}, {"bin/casemate", 0o755},
	} {
		s, err := stage(f.name, filepath.Join(b.work, filepath.Base(f.name)), f.mode)
		if err != nil {
			return nil, nil, err
		}
		files = append(files, s)
	}
	return files, append(early, root...), nil
}

// checkKernel compares the kernel with its package: the root's files are checked
// when they are packed, and this is the one that is not in there.
func (b *build) checkKernel(image string) error {
	_, file, ok := b.node.Owner(b.kernel.image)
	sum, err := debian.FileSHA256(image)
	if err != nil {
		return err
	}
	if !ok || sum != file.SHA256 {
		return fmt.Errorf("%s in %s is not what its package has: remove that directory and build again", b.kernel.image, b.node.Root)
	}
	return nil
}

func (b *build) commandLine() string {
	return strings.TrimSpace(b.Profile.CommandLine + " " + b.Append)
}

func (b *build) manifest(files []staged, early, root []initramfs.Entry) (*Manifest, []staged, error) {
	m := &Manifest{Schema: ManifestSchema, Profile: b.Profile.Name, Suite: b.Fetcher.Suite}
	m.Kernel.Version, m.Kernel.CommandLine = b.kernel.version, b.commandLine()
	m.Policy.Version, m.Policy.Digest = b.policy.Version, b.policy.Digest
	for _, f := range files {
		m.Artefacts = append(m.Artefacts, ManifestArtefact{f.name, f.size, f.sha256})
	}
	m.addFiles("initramfs", early)
	m.addFiles("root", root)
	m.addPackages(b.trees["node"], b.trees["tools"])
	data, err := m.marshal()
	if err != nil {
		return nil, nil, err
	}
	name := filepath.Join(b.work, "manifest.json")
	if err := os.WriteFile(name, data, 0o644); err != nil {
		return nil, nil, err
	}
	s, err := stage("manifest.json", name, 0o644)
	return m, append(files, s), err
}

func copyFile(w io.Writer, name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(w, f)
	return err
}

func writeTo(name string, write func(io.Writer) error) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	if err := write(f); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}
