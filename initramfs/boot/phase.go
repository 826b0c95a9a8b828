package boot

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"casemate/initramfs/boot/halt"
)

// Phase is one step of the boot. Its tasks run side by side, and the next phase
// begins when all have ended.
type Phase struct {
	Name  string
	Tasks []Task
}

// Task is one thing to do in a phase.
type Task struct {
	Name string
	Run  func(ctx context.Context) error
	// Needed says that the node is not to go on without it. Another task's
	// error is logged and the node does with what it has.
	Needed bool
}

// runPhases runs the phases in order and stops after the one in which a needed
// task fails, or ctx ends. Its error joins those of all needed tasks that failed.
func runPhases(ctx context.Context, phases []Phase, logf func(string, ...any)) error {
	for _, p := range phases {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("before phase %s: %w", p.Name, err)
		}
		start := time.Now()
		type result struct {
			took time.Duration
			err  error
		}
		results := make([]chan result, len(p.Tasks))
		for i, t := range p.Tasks {
			c := make(chan result, 1)
			results[i] = c
			go func() {
				defer halt.OnPanic()
				start := time.Now()
				err := t.Run(ctx)
				c <- result{time.Since(start), err}
			}()
		}
		var took []string
		var errs []error
		for i, t := range p.Tasks {
			r := <-results[i]
			took = append(took, fmt.Sprintf("%s %d", t.Name, r.took.Milliseconds()))
			switch {
			case r.err == nil:
			case t.Needed:
				errs = append(errs, fmt.Errorf("phase %s: %s: %w", p.Name, t.Name, r.err))
			default:
				logf("phase %s: %s: FAILED: %v", p.Name, t.Name, r.err)
			}
		}
		logf("phase %s: %d ms (%s)", p.Name, time.Since(start).Milliseconds(), strings.Join(took, ", "))
		if len(errs) > 0 {
			return errors.Join(errs...)
		}
	}
	return nil
}

// background runs f side by side with the phases that follow. What it gives is
// the task that waits for f, in the phase by which it must have ended.
func background(ctx context.Context, f func(ctx context.Context) error) func(context.Context) error {
	done := make(chan struct{})
	var err error
	go func() {
		defer halt.OnPanic()
		defer close(done)
		err = f(ctx)
	}()
	return func(ctx context.Context) error {
		select {
		case <-done:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
