package image

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"casemate/image/debian"
	"casemate/initramfs"
)

// ManifestSchema names the format of manifest.json.
const ManifestSchema = "casemate.manifest/1"

// Manifest is what is in an image, to the byte (out/manifest.json). It has no
// times, paths or host names: the same packages and source give the same one.
type Manifest struct {
	Schema  string `json:"schema"`
	Profile string `json:"profile"`
	Suite   string `json:"suite"`
	Kernel  struct {
		Version     string `json:"version"`
		CommandLine string `json:"commandLine"`
	} `json:"kernel"`
	Policy struct {
		Version int `json:"version"`
		// Digest is "sha256:" and hex.
		Digest string `json:"digest"`
	} `json:"policy"`
	Packages  []ManifestPackage  `json:"packages"`
	Artefacts []ManifestArtefact `json:"artefacts"`
	Files     []ManifestFile     `json:"files"`
}

// ManifestPackage is a package that was fetched for the image: for its files,
// as a tool of the build, or because another one depends on it.
type ManifestPackage struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	Arch    string `json:"arch"`
	// SHA256 (hex) and Size in bytes are the .deb's.
	SHA256 string `json:"sha256"`
	Size   int64  `json:"size"`
	// Sets are the package sets that have it.
	Sets []string `json:"sets"`
	// Files counts its files in the image.
	Files int `json:"files"`
}

// ManifestArtefact is a file of the output directory.
type ManifestArtefact struct {
	Path   string `json:"path"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

// ManifestFile is an object in the image.
type ManifestFile struct {
	// Image is "initramfs", or "root" for the EROFS in it.
	Image string `json:"image"`
	Path  string `json:"path"`
	// Type is file, dir, link or char.
	Type string `json:"type"`
	// Mode is the permissions in octal.
	Mode string `json:"mode"`
	// Size in bytes and SHA256 in hex are a file's.
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256,omitempty"`
	Link   string `json:"link,omitempty"`
	// Label is the SELinux context; an initramfs has none.
	Label string `json:"label,omitempty"`
	// Origin is a package's name, or "casemate".
	Origin string `json:"origin"`
}

func (m *Manifest) addFiles(image string, entries []initramfs.Entry) {
	for _, e := range entries {
		m.Files = append(m.Files, ManifestFile{
			Image: image, Path: e.Path, Type: typeName(e.Mode), Mode: fmt.Sprintf("%04o", e.Mode.Perm()),
			Size: e.Size, SHA256: e.SHA256, Link: e.Link, Label: e.Label, Origin: e.Origin,
		})
	}
}

func typeName(mode fs.FileMode) string {
	switch {
	case mode.IsDir():
		return "dir"
	case mode&fs.ModeSymlink != 0:
		return "link"
	case mode&fs.ModeCharDevice != 0:
		return "char"
	}
	return "file"
}

// addPackages wants the files to be there already.
func (m *Manifest) addPackages(trees ...*debian.Tree) {
	used := map[string]int{}
	for _, f := range m.Files {
		used[f.Origin]++
	}
	byDigest := map[string]*ManifestPackage{}
	for _, t := range trees {
		for _, p := range t.Packages {
			if known, ok := byDigest[p.SHA256]; ok {
				known.Sets = append(known.Sets, t.Name)
				continue
			}
			byDigest[p.SHA256] = &ManifestPackage{
				Name: p.Name, Version: p.Version, Arch: p.Arch, SHA256: p.SHA256, Size: p.Size,
				Sets: []string{t.Name}, Files: used[p.Name],
			}
		}
	}
	for _, p := range byDigest {
		slices.Sort(p.Sets)
		m.Packages = append(m.Packages, *p)
	}
	slices.SortFunc(m.Packages, func(a, b ManifestPackage) int {
		return strings.Compare(a.Name+" "+a.SHA256, b.Name+" "+b.SHA256)
	})
}

func (m *Manifest) marshal() ([]byte, error) {
	data, err := json.MarshalIndent(m, "", " ")
	return append(data, '\n'), err
}
