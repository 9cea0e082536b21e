# Plays a formula as Homebrew would, as far as ours goes: brew.rb FORMULA VERSION SOURCES PREFIX PROGRAM.
#
# What the formula calls is done below PREFIX, but for `cargo install`, in whose place PROGRAM is put:
# it was built of these sources already. What Homebrew does not have, has nobody here either: the
# formula ends with an error. Prints what the service is, as JSON.
require "fileutils"
require "json"
require "pathname"

class Pathname
  # Puts files or directories into this one, under their own names.
  def install(*sources)
    mkpath
    sources.each { |source| FileUtils.cp_r(source, self) }
  end

  alias plain_write write
  def write(text)
    dirname.mkpath
    plain_write(text)
  end
end

class Service
  # What a formula may say of a service, once.
  WORDS = %i[error_log_path keep_alive nice process_type run run_at_load throttle_interval].freeze

  attr_reader :said

  def initialize(formula, &block)
    @formula = formula
    @said = {}
    instance_eval(&block)
  end

  WORDS.each { |word| define_method(word) { |value| @said[word] = value } }

  def opt_bin = @formula.bin
  def var = @formula.prefix/"var"
end

class Formula
  class << self
    attr_reader :service_block, :test_block, :said

    def inherited(formula)
      super
      formula.instance_variable_set(:@said, Hash.new { |hash, key| hash[key] = [] })
    end

    %i[desc url sha256 license depends_on].each do |word|
      define_method(word) { |value| @said[word] << value }
    end

    def service(&block) = @service_block = block
    def test(&block) = @test_block = block
  end

  attr_reader :prefix, :version

  def initialize(version, prefix, program)
    @version = version
    @prefix = Pathname(prefix)
    @program = program
  end

  def bin = prefix/"bin"
  def man1 = prefix/"share/man/man1"
  def pkgshare = prefix/"share/stampd"
  def testpath = prefix/"test"
  def std_cargo_args = ["--locked", "--root=#{prefix}", "--path=."]

  def system(*words)
    words = words.map(&:to_s)
    if words.first(2) == %w[cargo install]
      raise "not of these sources: #{words}" unless words.drop(2) == std_cargo_args

      bin.mkpath
      return FileUtils.cp(@program, bin/"stampd")
    end
    Kernel.system(*words, out: :err) || raise("#{words}: #{$?}")
  end

  def shell_output(command)
    output = `#{command}`
    raise "#{command}: #{$?}" unless $?.success?

    output
  end

  def generate_completions_from_executable(*command)
    name = command.first.basename.to_s
    places = {
      "bash" => "etc/bash_completion.d/#{name}",
      "zsh"  => "share/zsh/site-functions/_#{name}",
      "fish" => "share/fish/vendor_completions.d/#{name}.fish",
    }
    places.each { |shell, place| (prefix/place).write(shell_output([*command, shell].join(" "))) }
  end

  def assert_equal(expected, actual)
    raise "expected #{expected.inspect}, got #{actual.inspect}" unless expected == actual
  end
end

formula, version, sources, prefix, program = ARGV
load formula
played = Stampd.new(version, prefix, program)
Dir.chdir(sources) { played.install }
played.testpath.mkpath
Dir.chdir(played.testpath) { played.instance_eval(&Stampd.test_block) }
puts JSON.generate(said: Stampd.said, service: Service.new(played, &Stampd.service_block).said,
                   caveats: played.caveats)
