// Go's own locks and recipes of etcd, driven line by line on stdin and answered line by line on stdout: what the tests and the
// benches set beside this library's.
//
//	peer ENDPOINT mutex|election|observe|queue|priority|barrier|double|rwmutex NAME [COUNT]
//	peer ENDPOINT contend|readwrite|wait NAME ...
//
// Each line is a command of the primitive; the answer is `ok`, maybe with a word, or `error` with Go's own words. A process has one
// session, since the tests want several that know nothing of each other.
package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"go.etcd.io/etcd/clientv3"
	"go.etcd.io/etcd/clientv3/concurrency"
	recipe "go.etcd.io/etcd/contrib/recipes"
)

var ctx = context.Background()

func main() {
	endpoint, what, name, rest := os.Args[1], os.Args[2], os.Args[3], os.Args[4:]
	switch what {
	case "contend":
		contend(endpoint, name, number(rest[0]))
	case "readwrite":
		readWrite(endpoint, name, number(rest[0]), number(rest[1]))
	case "wait":
		wait(endpoint, name, number(rest[0]), rest[1] == "shared")
	default:
		count := 0
		if len(rest) > 0 {
			count = number(rest[0])
		}
		client := connect(endpoint)
		serve(primitive(client, session(client), what, name, count))
	}
}

// A command's word and its argument, if it has one; gives what follows `ok`.
type commands func(word, argument string) (string, error)

func serve(do commands) {
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		word, argument := lines.Text(), ""
		if at := strings.IndexByte(word, ' '); at >= 0 {
			word, argument = word[:at], word[at+1:]
		}
		answer, err := do(word, argument)
		if err != nil {
			say("error %v", err)
		} else {
			say("%s", strings.TrimSpace("ok "+answer))
		}
	}
}

func primitive(client *clientv3.Client, session *concurrency.Session, what, name string, count int) commands {
	mutex := concurrency.NewMutex(session, name)
	election := concurrency.NewElection(session, name)
	queue := recipe.NewQueue(client, name)
	priority := recipe.NewPriorityQueue(client, name)
	barrier := recipe.NewBarrier(client, name)
	double := recipe.NewDoubleBarrier(session, name, count)
	rwmutex := recipe.NewRWMutex(session, name)
	var observed <-chan clientv3.GetResponse
	return func(word, argument string) (string, error) {
		switch what + " " + word {
		case "mutex lock":
			err := mutex.Lock(ctx)
			return mutex.Key(), err
		case "mutex unlock":
			return "", mutex.Unlock(ctx)
		case "mutex count":
			return "", countUnder(client, mutex, argument)
		case "election campaign":
			err := election.Campaign(ctx, argument)
			return election.Key(), err
		case "election proclaim":
			return "", election.Proclaim(ctx, argument)
		case "election resign":
			return "", election.Resign(ctx)
		case "election leader":
			leader, err := election.Leader(ctx)
			if err != nil {
				return "", err
			}
			return string(leader.Kvs[0].Value), nil
		case "election observe":
			if observed == nil {
				observed = election.Observe(ctx)
			}
			return string((<-observed).Kvs[0].Value), nil
		case "queue enqueue":
			return "", queue.Enqueue(argument)
		case "queue dequeue":
			return queue.Dequeue()
		case "priority enqueue":
			rank := strings.SplitN(argument, " ", 2)
			return "", priority.Enqueue(rank[1], uint16(number(rank[0])))
		case "priority dequeue":
			return priority.Dequeue()
		case "barrier hold":
			return "", barrier.Hold()
		case "barrier release":
			return "", barrier.Release()
		case "barrier wait":
			return "", barrier.Wait()
		case "double enter":
			return "", double.Enter()
		case "double leave":
			return "", double.Leave()
		case "rwmutex rlock":
			return "", rwmutex.RLock()
		case "rwmutex runlock":
			return "", rwmutex.RUnlock()
		case "rwmutex lock":
			return "", rwmutex.Lock()
		case "rwmutex unlock":
			return "", rwmutex.Unlock()
		}
		return "", fmt.Errorf("no such command of a %s: %s", what, word)
	}
}

// countUnder adds to a counter, so many times, by a read and a write that nothing but the lock holds together; and fails if another is
// found inside.
func countUnder(client *clientv3.Client, mutex *concurrency.Mutex, argument string) error {
	fields := strings.Fields(argument)
	counter, inside := fields[1], fields[1]+".inside"
	for turn := number(fields[0]); turn > 0; turn-- {
		if err := mutex.Lock(ctx); err != nil {
			return err
		}
		free := clientv3.Compare(clientv3.Version(inside), "=", 0)
		entered, err := client.Txn(ctx).If(free).Then(clientv3.OpPut(inside, "go")).Commit()
		if err != nil {
			return err
		}
		if !entered.Succeeded {
			return fmt.Errorf("another is inside")
		}
		read, err := client.Get(ctx, counter)
		if err != nil {
			return err
		}
		count := 0
		if len(read.Kvs) > 0 {
			count = number(string(read.Kvs[0].Value))
		}
		if _, err := client.Put(ctx, counter, strconv.Itoa(count+1)); err != nil {
			return err
		}
		if _, err := client.Delete(ctx, inside); err != nil {
			return err
		}
		if err := mutex.Unlock(ctx); err != nil {
			return err
		}
	}
	return nil
}

// contend answers `turns N` once each contender, on a connection of its own, has had the lock N times: the seconds that took, the
// seconds of CPU, and each handoff in microseconds from the beginning of a release to the next grant.
func contend(endpoint, name string, contenders int) {
	var mutexes []*concurrency.Mutex
	for i := 0; i < contenders; i++ {
		mutexes = append(mutexes, concurrency.NewMutex(session(connect(endpoint)), name))
	}
	say("ok")
	serve(func(_, argument string) (string, error) {
		var last time.Time
		var handoffs []string
		var guarded sync.Mutex
		took := measured(contenders, func(contender int) {
			for turn := number(argument); turn > 0; turn-- {
				must(mutexes[contender].Lock(ctx))
				guarded.Lock()
				if !last.IsZero() {
					handoffs = append(handoffs, strconv.FormatInt(time.Since(last).Microseconds(), 10))
				}
				last = time.Now()
				guarded.Unlock()
				must(mutexes[contender].Unlock(ctx))
			}
		})
		return took + " " + strings.Join(handoffs, " "), nil
	})
}

// readWrite answers `turns N` once each reader and each writer has held the lock N times for a millisecond.
func readWrite(endpoint, name string, readers, writers int) {
	var locks []*recipe.RWMutex
	for i := 0; i < readers+writers; i++ {
		locks = append(locks, recipe.NewRWMutex(session(connect(endpoint)), name))
	}
	say("ok")
	serve(func(_, argument string) (string, error) {
		return measured(readers+writers, func(contender int) {
			lock := locks[contender]
			acquire, release := lock.RLock, lock.RUnlock
			if contender >= readers {
				acquire, release = lock.Lock, lock.Unlock
			}
			for turn := number(argument); turn > 0; turn-- {
				must(acquire())
				time.Sleep(time.Millisecond)
				must(release())
			}
		}), nil
	})
}

// wait gets so many in line behind whoever holds the lock, each on a connection of its own or all on one, when it is told `wait`;
// `rss` asks for the memory of the process in KiB.
func wait(endpoint, name string, waiters int, shared bool) {
	say("ok")
	client := connect(endpoint)
	serve(func(word, _ string) (string, error) {
		if word == "rss" {
			return rssKiB(), nil
		}
		for i := 0; i < waiters; i++ {
			if i > 0 && !shared {
				client = connect(endpoint)
			}
			mutex := concurrency.NewMutex(session(client), name)
			go func() { must(mutex.Lock(ctx)) }()
		}
		return "", nil
	})
}

// measured does the work of every contender at once, and gives the seconds and the seconds of CPU that took.
func measured(contenders int, work func(contender int)) string {
	begun, cpu := time.Now(), cpuSeconds()
	var all sync.WaitGroup
	for i := 0; i < contenders; i++ {
		all.Add(1)
		go func(contender int) {
			defer all.Done()
			work(contender)
		}(i)
	}
	all.Wait()
	return fmt.Sprintf("%f %f", time.Since(begun).Seconds(), cpuSeconds()-cpu)
}

func cpuSeconds() float64 {
	var usage syscall.Rusage
	must(syscall.Getrusage(syscall.RUSAGE_SELF, &usage))
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano()).Seconds()
}

func rssKiB() string {
	status, err := os.ReadFile("/proc/self/status")
	must(err)
	for _, line := range strings.Split(string(status), "\n") {
		if strings.HasPrefix(line, "VmRSS:") {
			return strings.Fields(line)[1]
		}
	}
	return "0"
}

func connect(endpoint string) *clientv3.Client {
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{endpoint}, DialTimeout: 10 * time.Second})
	must(err)
	return client
}

func session(client *clientv3.Client) *concurrency.Session {
	session, err := concurrency.NewSession(client, concurrency.WithTTL(60))
	must(err)
	return session
}

func number(text string) int {
	parsed, err := strconv.Atoi(text)
	must(err)
	return parsed
}

func say(format string, values ...interface{}) {
	fmt.Printf(format+"\n", values...)
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
