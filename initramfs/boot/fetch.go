package boot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"golang.org/x/sys/unix"
)

// fetcher gets files over HTTP and HTTPS.
type fetcher struct {
	client   *http.Client
	attempts int
	delay    time.Duration // before the second attempt; doubles with each
}

func newFetcher() *fetcher {
	return &fetcher{
		attempts: 5,
		delay:    500 * time.Millisecond,
		client: &http.Client{
			Transport: &http.Transport{
				// The address moves to a bridge later: no connection may outlive its file.
				DisableKeepAlives:     true,
				TLSHandshakeTimeout:   10 * time.Second,
				ResponseHeaderTimeout: 10 * time.Second,
			},
			CheckRedirect: func(req *http.Request, via []*http.Request) error {
				if via[0].URL.Scheme == "https" && req.URL.Scheme != "https" {
					return fmt.Errorf("redirected from https to %s", req.URL.Scheme)
				}
				if len(via) >= 5 {
					return errors.New("more than 5 redirects")
				}
				return nil
			},
		},
	}
}

// maxDelay is the longest pause between two attempts.
const maxDelay = 15 * time.Second

// patient is for what the node can do nothing without: after a power cut the
// server may need minutes.
func (f *fetcher) patient() *fetcher {
	g := *f
	g.attempts = 40
	return &g
}

// errPermanent marks an error that another attempt would not mend.
type errPermanent struct{ error }

func (e errPermanent) Unwrap() error { return e.error }

// get copies what url has to the writer that open gives, which is asked for a
// new one for each attempt. More than limit bytes are an error.
func (f *fetcher) get(ctx context.Context, url string, limit int64, open func() (io.Writer, error)) error {
	delay := f.delay
	for attempt := 1; ; attempt++ {
		err := f.once(ctx, url, limit, open)
		var permanent errPermanent
		switch {
		case err == nil:
			return nil
		case errors.As(err, &permanent) || ctx.Err() != nil:
			return fmt.Errorf("fetch %s: %w", url, err)
		case attempt == f.attempts:
			return fmt.Errorf("fetch %s: %d attempts: %w", url, attempt, err)
		}
		select {
		case <-time.After(delay):
		case <-ctx.Done():
		}
		delay = min(2*delay, maxDelay)
	}
}

func (f *fetcher) once(ctx context.Context, url string, limit int64, open func() (io.Writer, error)) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return errPermanent{err}
	}
	if req.URL.Scheme != "http" && req.URL.Scheme != "https" {
		return errPermanent{fmt.Errorf("want http or https, not %q", req.URL.Scheme)}
	}
	resp, err := f.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		err := fmt.Errorf("server says %s", resp.Status)
		if resp.StatusCode >= 400 && resp.StatusCode < 500 {
			return errPermanent{err}
		}
		return err
	}
	w, err := open()
	if err != nil {
		return errPermanent{err}
	}
	n, err := io.Copy(w, io.LimitReader(resp.Body, limit+1))
	if errors.Is(err, unix.ENOSPC) {
		return errPermanent{err}
	}
	if err != nil {
		return err
	}
	if n > limit {
		return errPermanent{fmt.Errorf("larger than %d bytes", limit)}
	}
	return nil
}
