package boot

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"casemate/initramfs/boot/cmdline"
	"casemate/vmhost/spec"
)

const (
	fwCfgFile    = "/sys/firmware/qemu_fw_cfg/by_name/opt/casemate/config/raw"
	embeddedFile = "/etc/casemate/casemate.yaml"

	maxConfig     = 1 << 20 // bytes
	configTimeout = 10 * time.Minute
)

// source is one place where the node configuration may be. read gives found
// false when there is none; an error when there should be one.
type source struct {
	name string
	read func(ctx context.Context) (doc []byte, found bool, err error)
}

// configSources gives the sources, the first that has a document holds.
func configSources(params cmdline.Params, f *fetcher, fwCfg, embedded string) []source {
	url, hasURL := params["casemate.config"]
	return []source{
		{"fw_cfg opt/casemate/config", func(context.Context) ([]byte, bool, error) { return readConfig(fwCfg) }},
		{"casemate.config=" + url, func(ctx context.Context) ([]byte, bool, error) {
			if !hasURL {
				return nil, false, nil
			}
			ctx, cancel := context.WithTimeout(ctx, configTimeout)
			defer cancel()
			var buf bytes.Buffer
			err := f.get(ctx, url, maxConfig, func() (io.Writer, error) { buf.Reset(); return &buf, nil })
			return buf.Bytes(), true, err
		}},
		{"embedded " + embedded, func(context.Context) ([]byte, bool, error) { return readConfig(embedded) }},
	}
}

func readConfig(file string) ([]byte, bool, error) {
	f, err := os.Open(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false, nil
	}
	if err != nil {
		return nil, true, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxConfig+1))
	if err == nil && len(b) > maxConfig {
		err = fmt.Errorf("read %s: larger than %d bytes", file, maxConfig)
	}
	return b, true, err
}

// loadConfig takes the document of the first source that has one. An error
// there is final: what was meant to be the configuration must not be replaced
// by another, or by none, because it can not be read. from names the source.
func loadConfig(ctx context.Context, sources []source) (doc spec.Node, from string, err error) {
	from = "none (defaults)"
	for _, s := range sources {
		b, found, err := s.read(ctx)
		if err != nil {
			return spec.Node{}, s.name, fmt.Errorf("configuration from %s: %w", s.name, err)
		}
		if !found {
			continue
		}
		if doc, err = spec.ParseNode(b); err == nil {
			doc.SetDefaults()
			err = doc.Validate()
		}
		if err != nil {
			return spec.Node{}, s.name, fmt.Errorf("configuration from %s: %w", s.name, err)
		}
		from = s.name
		break
	}
	doc.SetDefaults()
	return doc, from, nil
}
