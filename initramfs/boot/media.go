package boot

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"casemate/vmhost/spec"
)

// mediaTimeout bounds the fetch of one file.
const mediaTimeout = 15 * time.Minute

// fetchMedia fetches the files into dir, side by side. Each is there complete
// and with the digest that the configuration gives, or not at all. label labels
// one before it gets its name. The error names every file that is missing.
func fetchMedia(ctx context.Context, f *fetcher, media []spec.Media, dir string, label func(file string) error) error {
	errs := make([]error, len(media))
	var wg sync.WaitGroup
	for i, m := range media {
		wg.Go(func() {
			if err := fetchOne(ctx, f, m, dir, label); err != nil {
				errs[i] = fmt.Errorf("media %s: %w", m.Name, err)
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

func fetchOne(ctx context.Context, f *fetcher, m spec.Media, dir string, label func(file string) error) error {
	ctx, cancel := context.WithTimeout(ctx, mediaTimeout)
	defer cancel()
	if m.Name != filepath.Base(m.Name) || strings.HasPrefix(m.Name, ".") {
		return errors.New("not a file name")
	}
	file, err := os.CreateTemp(dir, ".fetch-")
	if err != nil {
		return err
	}
	defer os.Remove(file.Name()) // of no effect once renamed
	defer file.Close()
	hash := sha256.New()
	err = f.get(ctx, m.URL, math.MaxInt64-1, func() (io.Writer, error) {
		hash.Reset()
		if _, err := file.Seek(0, io.SeekStart); err != nil {
			return nil, err
		}
		return io.MultiWriter(file, hash), file.Truncate(0)
	})
	if err != nil {
		return err
	}
	if got := hex.EncodeToString(hash.Sum(nil)); !strings.EqualFold(got, m.SHA256) {
		return fmt.Errorf("%s has SHA-256 %s; the configuration says %s", m.URL, got, strings.ToLower(m.SHA256))
	}
	// Readable by all: a VM's own user opens it. What may read it is up to its label.
	if err := file.Chmod(0o444); err != nil {
		return err
	}
	if err := label(file.Name()); err != nil {
		return err
	}
	return os.Rename(file.Name(), filepath.Join(dir, m.Name))
}
