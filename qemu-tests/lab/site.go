package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"casemate/cmd/casemate/pki"
	"casemate/vmhost/spec"

	"sigs.k8s.io/yaml"
)

// APIPort is where the gateway listens on the node.
const APIPort = 8443

// Site is what stands around a node: an NFS server, a media server with the
// guest's files, and the node's configuration with its identity.
type Site struct {
	Out   string // build output, with pxe/
	Dir   string // state
	Tools Tools
	NFS   *NFSServer
	Media *MediaServer
	Guest Guest
	// Config is what a node at this site gets at boot.
	Config spec.Node
}

// Exports of the site's NFS server.
var Exports = []string{"a", "b"}

// PKI is the folder of the site's identities, with the node's, the admin's and
// the authority's.
func (s *Site) PKI() string { return filepath.Join(s.Dir, "pki") }

// OpenSite starts the servers. What is in dir already, such as the PKI, is used
// again.
func OpenSite(ctx context.Context, tools Tools, out, dir string) (s *Site, err error) {
	s = &Site{Out: out, Dir: dir, Tools: tools}
	opened := s // a return of nil sets s
	defer func() {
		if err != nil {
			opened.Close()
		}
	}()
	media := filepath.Join(dir, "media")
	if err = os.MkdirAll(media, 0o755); err != nil {
		return nil, err
	}
	if _, err = os.Stat(filepath.Join(s.PKI(), pki.NodeDocument)); errors.Is(err, fs.ErrNotExist) {
		err = pki.Init(s.PKI(), time.Now(), "trial", []string{"127.0.0.1"})
	}
	if err != nil {
		return nil, err
	}
	if s.Guest, err = BuildGuest(ctx, tools, media); err != nil {
		return nil, err
	}
	if s.Media, err = ServeMedia(media); err != nil {
		return nil, err
	}
	if s.NFS, err = StartNFS(ctx, tools, dir, Exports...); err != nil {
		return nil, err
	}
	if s.Config, err = s.config(); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *Site) config() (spec.Node, error) {
	var node spec.Node
	file := filepath.Join(s.PKI(), pki.NodeDocument)
	b, err := os.ReadFile(file)
	if err != nil {
		return node, err
	}
	if err := yaml.UnmarshalStrict(b, &node); err != nil {
		return node, fmt.Errorf("parse %s: %w", file, err)
	}
	node.Network.Bridges = []spec.Bridge{{Name: "lan"}}
	for _, path := range []string{s.Guest.Kernel, s.Guest.Initrd} {
		m, err := s.Media.Media(filepath.Base(path), path)
		if err != nil {
			return node, err
		}
		node.Media = append(node.Media, m)
	}
	return node, nil
}

// VM is the document of a guest with one disk on NFS and a NIC.
func (s *Site) VM(name, volume string) spec.VM {
	return spec.VM{
		Name:   name,
		Memory: 256 << 20,
		Kernel: &spec.Kernel{
			Image:   "local/" + filepath.Base(s.Guest.Kernel),
			Initrd:  "local/" + filepath.Base(s.Guest.Initrd),
			Cmdline: s.Guest.Cmdline(name),
		},
		Disks: []spec.Disk{{Volume: volume}},
		NICs:  []spec.NIC{{Bridge: "lan"}},
	}
}

// Machine describes a machine at this site that boots the node by PXE.
func (s *Site) Machine() (Config, error) {
	doc, err := yaml.Marshal(s.Config)
	if err != nil {
		return Config{}, err
	}
	return Config{
		Name: s.Config.Name, Tools: s.Tools, Dir: s.Dir,
		PXE: filepath.Join(s.Out, "pxe"), NodeConfig: doc, Forward: []int{APIPort},
	}, nil
}

// Direct turns a machine into one that boots the same files without firmware
// and network, with another command line, and with segments appended to the
// initramfs. edit gets boot.ipxe's command line, word by word.
func (s *Site) Direct(cfg Config, edit func(words []string) []string, segments ...[]byte) (Config, error) {
	pxe := cfg.PXE
	cfg.PXE = ""
	words, err := Cmdline(filepath.Join(pxe, "boot.ipxe"))
	if err != nil {
		return cfg, err
	}
	if edit != nil {
		words = edit(words)
	}
	cfg.Kernel, cfg.Initrd = filepath.Join(pxe, "vmlinuz"), filepath.Join(pxe, "initramfs.img")
	cfg.Append = strings.Join(words, " ")
	if len(segments) == 0 {
		return cfg, nil
	}
	image, err := os.ReadFile(cfg.Initrd)
	if err != nil {
		return cfg, err
	}
	for len(image)%4 != 0 { // the kernel looks for the next segment at a multiple of 4
		image = append(image, 0)
	}
	for _, seg := range segments {
		image = append(image, seg...)
	}
	cfg.Initrd = filepath.Join(s.Dir, cfg.Name+".initramfs.img")
	return cfg, os.WriteFile(cfg.Initrd, image, 0o600)
}

// Cmdline reads the kernel command line of an iPXE script, without initrd=,
// which is for the boot loader.
func Cmdline(script string) ([]string, error) {
	b, err := os.ReadFile(script)
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) < 2 || f[0] != "kernel" {
			continue
		}
		var words []string
		for _, w := range f[2:] {
			if !strings.HasPrefix(w, "initrd=") {
				words = append(words, w)
			}
		}
		return words, nil
	}
	return nil, fmt.Errorf("no kernel line in %s", script)
}

// Close stops the servers.
func (s *Site) Close() {
	if s.NFS != nil {
		s.NFS.Stop()
	}
	if s.Media != nil {
		s.Media.Close()
	}
}
